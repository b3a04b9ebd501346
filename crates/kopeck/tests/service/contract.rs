//! Owns the check of every answer against the API's own description.
//!
//! Never: an answer of the API that the description does not have. Bounds: one description a
//! service, one validator a kind of answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::Answer;

/// The description, fetched when the first answer comes.
pub(crate) struct Contract {
    url: String,
    description: OnceCell<Value>,
    validators: Mutex<HashMap<String, Arc<jsonschema::Validator>>>,
}

impl Contract {
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), description: OnceCell::new(), validators: Mutex::default() }
    }

    pub(crate) async fn description(&self) -> &Value {
        let fetch = async || {
            let url = format!("{}/api/openapi.json", self.url);
            // A service that is killed meanwhile has no description: what is null is not checked.
            match reqwest::get(url).await {
                Ok(answer) => answer.json().await.unwrap_or_default(),
                Err(_) => Value::Null,
            }
        };
        self.description.get_or_init(fetch).await
    }

    /// Panics when the description does not have the answer.
    pub(crate) async fn check(&self, method: &str, path: &str, answer: &Answer) {
        let description = self.description().await;
        let Some(path) = template(&description["paths"], path) else { return };
        let operation = &description["paths"][path][method.to_lowercase()];
        if operation.is_null() {
            return;
        }
        let kind = answer.header("content-type");
        let place = format!("{method} {path} {} {kind}", answer.status);
        let response = &operation["responses"][answer.status.to_string()];
        assert!(!response.is_null(), "{place} is not described: {}", answer.text);
        let schema = &response["content"][kind]["schema"];
        assert!(!schema.is_null(), "{place}: this type is not described: {}", answer.text);
        let validator = self.validator(&place, schema, &description["components"]);
        // What is not JSON is text; JSON Lines are not JSON.
        let is_json = matches!(kind, "application/json" | "application/problem+json");
        let text = Value::String(answer.text.clone());
        if let Err(error) = validator.validate(if is_json { &answer.body } else { &text }) {
            panic!("{place} does not fit its schema: {error}\n{}", answer.text);
        }
        for name in ["set-cookie", "idempotency-replayed", "retry-after", "content-disposition"] {
            let mut described = response["headers"].as_object().into_iter().flatten();
            let described = described.any(|(header, _)| header.eq_ignore_ascii_case(name));
            assert!(
                described || answer.header(name).is_empty(),
                "{place}: {name} is not described"
            );
        }
        if let Some(code) = answer.body["code"].as_str() {
            let listed = response["description"].as_str().unwrap_or_default();
            assert!(listed.contains(&format!("`{code}`")), "{place}: `{code}` is not described");
        }
    }

    /// Panics when a value does not fit a schema of the description; for lines of an answer.
    pub(crate) async fn check_component(&self, name: &str, value: &Value) {
        let components = &self.description().await["components"];
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        assert!(!components["schemas"][name].is_null(), "{name} is not described");
        if let Err(error) = self.validator(name, &schema, components).validate(value) {
            panic!("{value} is no {name}: {error}");
        }
    }

    fn validator(
        &self,
        place: &str,
        schema: &Value,
        components: &Value,
    ) -> Arc<jsonschema::Validator> {
        let mut validators = self.validators.lock().unwrap();
        let validator = validators.entry(place.to_owned()).or_insert_with(|| {
            let whole = json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "components": components,
                "allOf": [schema],
            });
            Arc::new(jsonschema::validator_for(&whole).unwrap())
        });
        Arc::clone(validator)
    }
}

/// The described path that a path is one of: `{name}` stands for any one part.
fn template<'d>(paths: &'d Value, path: &str) -> Option<&'d String> {
    let fits = |described: &&String| {
        let (described, path) = (described.split('/'), path.split('/'));
        described.clone().count() == path.clone().count()
            && described.zip(path).all(|(part, own)| part == own || part.starts_with('{'))
    };
    paths.as_object()?.keys().find(fits)
}
