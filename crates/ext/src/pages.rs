//! Result sets (XEP-0059): what page of a list is asked for, and what is told of the one that is given.

use stonechat_stanza::{StanzaCondition, StanzaError, ns};
use stonechat_xml::Element;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Items at most; 0 asks how many there are (§2.7).
    pub(crate) max: Option<u64>,
    /// Which.
    pub(crate) place: Place,
}

/// Where the page lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first items.
    #[default]
    First,
    /// Behind an item.
    After(String),
    /// The last items: an empty `<before/>` (§2.5).
    Last,
    /// Before an item.
    Before(String),
}

/// Reads `<set/>`; without one the first page is wanted.
///
/// # Errors
/// `bad-request` for a maximum that is no number, and for contradictions; `feature-not-implemented` for jumps to an index
/// (§2.6), which nothing here can serve without counting.
pub(crate) fn wanted(set: Option<&Element>) -> Result<Wanted, StanzaError> {
    let Some(set) = set else { return Ok(Wanted::default()) };
    let text = |name: &str| set.child(name, ns::RSM).map(Element::text);
    if set.child("index", ns::RSM).is_some() {
        return Err(StanzaCondition::FeatureNotImplemented.into());
    }
    let max = match text("max") {
        Some(max) => Some(max.trim().parse().map_err(|_| StanzaCondition::BadRequest)?),
        None => None,
    };
    let place = match (text("after"), text("before")) {
        (None, None) => Place::First,
        // §2.3: clients that page forward from nothing send an empty element.
        (Some(after), None) if after.is_empty() => Place::First,
        (Some(after), None) => Place::After(after),
        (None, Some(before)) if before.is_empty() => Place::Last,
        (None, Some(before)) => Place::Before(before),
        (Some(_), Some(_)) => return Err(StanzaCondition::BadRequest.into()),
    };
    Ok(Wanted { max, place })
}

/// `<set/>` of a page: its first and last item when it has any, and the count of all items when it is known.
pub(crate) fn given(first: Option<&str>, last: Option<&str>, count: Option<u64>) -> Element {
    let element = |name: &'static str, text: String| Element::new(name, ns::RSM).with_text(text);
    Element::new("set", ns::RSM)
        .with_children(first.map(|first| element("first", first.to_owned())))
        .with_children(last.map(|last| element("last", last.to_owned())))
        .with_children(count.map(|count| element("count", count.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Result<Wanted, &'static str> {
        let set = Element::parse(format!("<set xmlns='{}'>{xml}</set>", ns::RSM).as_bytes(), "").unwrap();
        wanted(Some(&set)).map_err(|error| error.condition.name())
    }

    #[test]
    fn xep0059_2_places_are_read_as_they_are_meant() {
        let place = |max, place| Ok(Wanted { max, place });
        assert_eq!(wanted(None).unwrap(), Wanted::default());
        assert_eq!(read("<max>10</max>"), place(Some(10), Place::First));
        assert_eq!(read("<max>10</max><after>x</after>"), place(Some(10), Place::After("x".into())));
        assert_eq!(read("<max>10</max><after/>"), place(Some(10), Place::First));
        assert_eq!(read("<before/>"), place(None, Place::Last));
        assert_eq!(read("<before>y</before>"), place(None, Place::Before("y".into())));
        assert_eq!(read("<max>-1</max>"), Err("bad-request"));
        assert_eq!(read("<max>many</max>"), Err("bad-request"));
        assert_eq!(read("<after>x</after><before>y</before>"), Err("bad-request"));
        assert_eq!(read("<index>3</index>"), Err("feature-not-implemented"));
    }
}
