//! Says in words where a file is wrong, and what was probably meant.

/// An error of the reader, with its line and, for an unknown key, the nearest known one.
pub(super) fn describe(error: &toml::de::Error, text: &str) -> String {
    let place = error.span().map_or_else(String::new, |span| {
        let line = text.get(..span.start).unwrap_or_default().matches('\n').count().saturating_add(1);
        format!("line {line}: ")
    });
    let message = error.message().trim().replace('\n', ": ");
    match unknown_field(&message) {
        Some((field, known)) => match nearest(field, &known) {
            Some(near) => format!("{place}there is no key \"{field}\"; did you mean \"{near}\"?"),
            None => format!("{place}there is no key \"{field}\" there; known are {}", known.join(", ")),
        },
        None => format!("{place}{message}"),
    }
}

/// Takes serde's "unknown field `x`, expected one of `a`, `b`" apart.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("unknown variant `"))?;
    let (field, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2).collect();
    Some((field, known))
}

fn nearest<'a>(field: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(field, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}
