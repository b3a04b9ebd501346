//! Owns the words of the pages: both locales' Fluent messages, embedded in the binary.
//!
//! Never: which language is shown (that is `language`), or a number's or a moment's form (that is
//! `format`). Bounds: two locales with the same keys, held once, for the whole of the process.

use std::sync::LazyLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use unic_langid::LanguageIdentifier;

use super::language::Language;

const ENGLISH: [&str; 2] =
    [include_str!("../../locales/en/pages.ftl"), include_str!("../../locales/en/errors.ftl")];
const RUSSIAN: [&str; 2] =
    [include_str!("../../locales/ru/pages.ftl"), include_str!("../../locales/ru/errors.ftl")];

type Bundle = FluentBundle<FluentResource>;

static ENGLISH_BUNDLE: LazyLock<Bundle> = LazyLock::new(|| bundle(Language::English, ENGLISH));
static RUSSIAN_BUNDLE: LazyLock<Bundle> = LazyLock::new(|| bundle(Language::Russian, RUSSIAN));

/// A broken message is left out and shows as its key; a test sees that none is.
fn bundle(language: Language, sources: [&str; 2]) -> Bundle {
    let locale: LanguageIdentifier = language.tag().parse().unwrap_or_default();
    let mut bundle = FluentBundle::new_concurrent(vec![locale]);
    // Both languages run left to right; what people wrote is isolated in the HTML.
    bundle.set_use_isolating(false);
    for source in sources {
        let resource = FluentResource::try_new(source.to_owned())
            .unwrap_or_else(|(what_is_whole, _)| what_is_whole);
        bundle.add_resource_overriding(resource);
    }
    bundle
}

/// What is put into a message: a number, which chooses the plural, or text.
pub(crate) enum Value<'v> {
    /// A count.
    Count(usize),
    /// Text that is ready to be shown.
    Text(&'v str),
}

impl Language {
    /// The words under a key.
    pub(crate) fn say(self, key: &str) -> String {
        self.say_with(key, &[])
    }

    /// The words under a key, with one text put in.
    pub(crate) fn say_one(self, key: &str, name: &str, text: &str) -> String {
        self.say_with(key, &[(name, Value::Text(text))])
    }

    /// The words under a key, with values put in. A key that is not there is shown as it is.
    pub(crate) fn say_with(self, key: &str, values: &[(&str, Value<'_>)]) -> String {
        let bundle = match self {
            Self::English => &*ENGLISH_BUNDLE,
            Self::Russian => &*RUSSIAN_BUNDLE,
        };
        let mut arguments = FluentArgs::new();
        for (name, value) in values {
            let value = match value {
                Value::Count(count) => FluentValue::from(*count),
                Value::Text(text) => FluentValue::from(*text),
            };
            arguments.set(*name, value);
        }
        let Some(pattern) = bundle.get_message(key).and_then(|message| message.value()) else {
            return key.to_owned();
        };
        bundle.format_pattern(pattern, Some(&arguments), &mut Vec::new()).into_owned()
    }

    /// Whether there are words under a key.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn knows(self, key: &str) -> bool {
        match self {
            Self::English => ENGLISH_BUNDLE.has_message(key),
            Self::Russian => RUSSIAN_BUNDLE.has_message(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use fluent_bundle::FluentResource;

    use super::{ENGLISH, RUSSIAN, Value};
    use crate::web::language::Language;

    /// The keys of one locale, with the variables that each message takes.
    fn keys(sources: [&str; 2]) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        for source in sources {
            FluentResource::try_new(source.to_owned()).expect("every message is whole");
            let mut current = String::new();
            for line in source.lines() {
                if let Some((key, _)) = line.split_once(" =")
                    && !line.starts_with([' ', '#'])
                {
                    key.clone_into(&mut current);
                    assert!(keys.insert(current.clone()), "{current} stands twice");
                }
                for variable in line.split('$').skip(1) {
                    let name: String =
                        variable.chars().take_while(char::is_ascii_alphanumeric).collect();
                    keys.insert(format!("{current} ${name}"));
                }
            }
        }
        keys
    }

    #[test]
    fn both_locales_have_the_same_keys_and_variables() {
        assert_eq!(keys(ENGLISH), keys(RUSSIAN));
    }

    /// Collects the text literals that look like the first argument of `say`.
    fn used_keys(folder: &Path, used: &mut BTreeSet<String>) {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                used_keys(&path, used);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for call in ["say(", "say_one(", "say_with("] {
                for rest in text.split(call).skip(1) {
                    if let Some(key) = rest.trim_start().strip_prefix('"') {
                        used.insert(key.split('"').next().unwrap().to_owned());
                    }
                }
            }
        }
    }

    #[test]
    fn every_key_used_exists() {
        let mut used = BTreeSet::new();
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        used_keys(&crate_folder.join("src/web"), &mut used);
        used_keys(&crate_folder.join("templates"), &mut used);
        assert!(used.len() > 20, "the search found next to nothing: {used:?}");
        for key in used {
            for language in Language::ALL {
                assert!(language.knows(&key), "{key} is missing in {language:?}");
            }
        }
    }

    #[test]
    fn every_rejection_has_words() {
        for rejection in ledger::Rejection::ALL {
            for language in Language::ALL {
                let key = format!("error-{}", rejection.code());
                assert!(language.knows(&key), "{key} is missing in {language:?}");
            }
        }
    }

    #[test]
    fn plurals_follow_the_language() {
        let check = |language: Language, digits: usize, expected: &str| {
            let values = [("digits", Value::Count(digits)), ("currency", Value::Text("JPY"))];
            assert_eq!(language.say_with("error-amount_too_precise", &values), expected);
        };
        check(Language::English, 2, "At most 2 digits after the point.");
        check(Language::English, 1, "At most 1 digit after the point.");
        check(Language::Russian, 2, "Не больше 2 знаков после запятой.");
        check(Language::Russian, 0, "Введите целую сумму: у JPY нет дробных единиц.");
    }
}
