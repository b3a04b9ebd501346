//! Owns what a form is to a template: its fields, what was typed, and what is wrong with it.
//!
//! Never: what a form does when it is sent; a password shown again. Bounds: the fields it is given.

/// A form, ready to be shown.
#[derive(Debug)]
pub(crate) struct Form {
    /// The element's id.
    pub(crate) id: &'static str,
    /// Where it is sent.
    pub(crate) action: &'static str,
    /// What its button says.
    pub(crate) submit: String,
    /// Its fields, in order.
    pub(crate) fields: Vec<Field>,
    /// The hidden token that shows that this service rendered the form for this client.
    pub(crate) form_token: String,
    /// The hidden idempotency key of a form that moves money.
    pub(crate) key: Option<String>,
    /// The hidden number of the wallet that a form that moves money was made for.
    pub(crate) wallet: Option<String>,
    /// The hidden tag of the language that its amounts are typed in.
    pub(crate) language: Option<&'static str>,
    /// What is wrong with the form as a whole.
    pub(crate) problem: Option<String>,
}

impl Form {
    /// Whether it was sent and refused.
    pub(crate) fn is_refused(&self) -> bool {
        self.problem.is_some() || self.fields.iter().any(|field| field.error.is_some())
    }

    /// Puts a refusal beside the field it is about, or above the form when it is about none.
    pub(crate) fn refuse(&mut self, field: Option<&str>, message: String) {
        let about = self.fields.iter_mut().find(|candidate| Some(candidate.name) == field);
        match about {
            Some(field) => field.error = Some(message),
            None => self.problem = Some(message),
        }
    }
}

/// A field with its label. Its id is its name.
#[derive(Debug)]
pub(crate) struct Field {
    /// The name under which it is sent, and its id.
    pub(crate) name: &'static str,
    /// What it is called.
    pub(crate) label: String,
    /// The input's type.
    pub(crate) kind: &'static str,
    /// What was typed.
    pub(crate) value: String,
    /// What a browser may fill in.
    pub(crate) autocomplete: &'static str,
    /// Which keyboard a phone shows.
    pub(crate) input_mode: Option<&'static str>,
    /// Whether it may be left empty.
    pub(crate) required: bool,
    /// What is good to know before it is filled in.
    pub(crate) hint: Option<String>,
    /// What is wrong with it.
    pub(crate) error: Option<String>,
}

impl Field {
    /// A field for text that must be filled in.
    pub(crate) fn text(name: &'static str, label: String, value: &str) -> Self {
        Self {
            name,
            label,
            kind: "text",
            value: value.to_owned(),
            autocomplete: "off",
            input_mode: None,
            required: true,
            hint: None,
            error: None,
        }
    }

    /// A field for an e-mail address.
    pub(crate) fn email(label: String, value: &str) -> Self {
        let input_mode = Some("email");
        Self { kind: "email", input_mode, ..Self::text("email", label, value) }
            .filled_by("username")
    }

    /// A field for a password. It is always empty: what was typed is not sent back.
    pub(crate) fn password(label: String, autocomplete: &'static str) -> Self {
        Self { kind: "password", ..Self::text("password", label, "") }.filled_by(autocomplete)
    }

    /// Says what a browser may fill in.
    pub(crate) fn filled_by(self, autocomplete: &'static str) -> Self {
        Self { autocomplete, ..self }
    }

    /// Says which keyboard a phone shows.
    pub(crate) fn typed_on(self, input_mode: &'static str) -> Self {
        Self { input_mode: Some(input_mode), ..self }
    }

    /// Says what is good to know before it is filled in.
    pub(crate) fn with_hint(self, hint: String) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// The ids of the elements that say more about it, the error first.
    pub(crate) fn described_by(&self) -> Option<String> {
        let error = self.error.as_ref().map(|_| format!("{}-error", self.name));
        let hint = self.hint.as_ref().map(|_| format!("{}-hint", self.name));
        let ids: Vec<String> = error.into_iter().chain(hint).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }

    /// Says that it may be left empty.
    pub(crate) fn optional(self) -> Self {
        Self { required: false, ..self }
    }
}
