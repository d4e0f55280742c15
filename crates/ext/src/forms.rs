//! Data forms (XEP-0004) as far as extensions read and write them.
//!
//! A field that a form does not have keeps its meaning of before; which unknown fields are errors is each extension's to say.

use stonechat_stanza::{StanzaCondition, StanzaError, ns};
use stonechat_xml::Element;

/// A submitted form.
pub(crate) struct Submitted {
    fields: Vec<(String, Vec<String>)>,
}

/// Fields of one form: more are nonsense, and cost more than they are worth.
const MAX_FIELDS: usize = 64;

impl Submitted {
    /// Reads `<x type='submit'/>` with the wanted FORM_TYPE (XEP-0068).
    ///
    /// # Errors
    /// `bad-request` for anything else.
    pub(crate) fn read(form: &Element, form_type: &str) -> Result<Submitted, StanzaError> {
        let wrong = || StanzaError::from(StanzaCondition::BadRequest);
        if form.attribute("type") != Some("submit") {
            return Err(wrong());
        }
        let mut fields = Vec::new();
        for field in form.children().filter(|child| child.is("field", ns::DATA_FORMS)) {
            let name = field.attribute("var").ok_or_else(wrong)?;
            let values = field.children().filter(|child| child.is("value", ns::DATA_FORMS)).map(Element::text);
            if fields.len() >= MAX_FIELDS || fields.iter().any(|(other, _)| other == name) {
                return Err(wrong());
            }
            fields.push((name.to_owned(), values.collect::<Vec<_>>()));
        }
        let submitted = Submitted { fields };
        match submitted.one("FORM_TYPE") {
            Some(found) if found == form_type => Ok(submitted),
            _ => Err(wrong()),
        }
    }

    /// The first value of a field.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).first().map(String::as_str)
    }

    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, values)| values.as_slice()).unwrap_or_default()
    }

    /// The names of its fields.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }
}

/// The empty form that says what may be submitted: names and types of fields.
pub(crate) fn offered(form_type: &str, fields: &[(&'static str, &'static str)]) -> Element {
    let field = |name: &str, kind: &str| {
        Element::new("field", ns::DATA_FORMS).with_attribute("var", name).with_attribute("type", kind)
    };
    Element::new("x", ns::DATA_FORMS)
        .with_attribute("type", "form")
        .with_child(field("FORM_TYPE", "hidden").with_child(Element::new("value", ns::DATA_FORMS).with_text(form_type)))
        .with_children(fields.iter().map(|(name, kind)| field(name, kind)))
}
