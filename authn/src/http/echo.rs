//! What a refusal repeats of the request: enough to find the mistake, never so much that answers grow with requests.

use std::borrow::Cow;

use signalbeam_domain::{ApiKey, ClaimSecret, RegistrationToken};

/// The most characters of a caller's text that an answer repeats.
const MAX_ECHOED_CHARACTERS: usize = 64;
/// The most characters of a whole message: more than any of ours has, for those that quote in a way not known here.
const MAX_MESSAGE_CHARACTERS: usize = 4_096;
/// What begins a caller's text in the messages of serde.
const BEGINNINGS: [&str; 3] = ["unknown field `", "unknown variant `", "string \""];
/// What ends it, and stands nowhere after it: what follows is ours.
const ENDS: [&str; 4] = ["`, expected ", "`, there are no fields", "`, there are no variants", "\", expected "];

/// What a secret begins with: nothing that follows it is repeated, wherever in a request it went astray.
const SECRETS: [&str; 3] = [RegistrationToken::LITERAL, ApiKey::LITERAL, ClaimSecret::LITERAL];

/// A text of the caller, cut to 64 characters, and to none of a secret's.
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    let secret = SECRETS.iter().filter_map(|literal| Some(text.find(literal)? + literal.len())).min();
    let characters = secret.map_or(MAX_ECHOED_CHARACTERS, |end| text[..end].chars().count());
    cut(text, characters.min(MAX_ECHOED_CHARACTERS))
}

/// A message in which the text that it quotes from the request is cut to 64 characters.
pub(super) fn with_short_echo(message: &str) -> String {
    // The caller's text may have beginnings and ends of its own: the outermost ones are true.
    let from = BEGINNINGS.iter().filter_map(|begin| Some(message.find(begin)? + begin.len())).min();
    let to = ENDS.iter().filter_map(|end| message.rfind(end)).max();
    let message = match (from, to) {
        (Some(from), Some(to)) if from <= to => {
            let (before, quoted, after) = (&message[..from], &message[from..to], &message[to..]);
            Cow::Owned(format!("{}{}{after}", shortened(before), shortened(quoted)))
        }
        _ => Cow::Borrowed(message),
    };
    cut(&message, MAX_MESSAGE_CHARACTERS).into_owned()
}

fn cut(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_cut_at_a_character_and_what_is_said_of_it_stays() {
        let echo = "é".repeat(64);
        for long in ["é".repeat(65), format!("{echo}`, expected `c`"), format!("{echo}\", expected unknown field `")] {
            for (begin, end) in [
                ("unknown field `", "`, expected one of `a`, `b`"),
                ("unknown field `", "`, there are no fields"),
                ("unknown variant `", "`, expected `a` or `b`"),
                ("invalid type: string \"", "\", expected a map"),
                ("invalid value: string \"", "\", expected a UUID"),
            ] {
                let message = format!("{begin}{long}{end}");
                let short = with_short_echo(&message);
                assert_eq!(short, format!("{begin}{echo}…{end}"));
            }
        }
        assert_eq!(shortened(&"🔒".repeat(65)), format!("{}…", "🔒".repeat(64)));
    }

    #[test]
    fn a_secret_that_went_astray_is_not_repeated() {
        for (secret, shown) in [
            ("sbt_a1B2c3D4_Zm9v", "sbt_…"),
            ("sb_device_a1B2c3D4_Zm9v", "sb_device_…"),
            ("sbc_Zm9v", "sbc_…"),
            ("Bearer sbc_Zm9v", "Bearer sbc_…"),
        ] {
            let message = format!("unknown field `{secret}`, expected `a`");
            assert_eq!(with_short_echo(&message), format!("unknown field `{shown}`, expected `a`"));
            assert_eq!(shortened(&format!("/{secret}")), format!("/{shown}"));
        }
    }

    #[test]
    fn what_is_short_stays_as_it_is_and_nothing_is_endless() {
        let short = format!("unknown field `{}`, expected `a`", "x".repeat(64));
        for text in [short.as_str(), "is required", "", "unknown field `", "must have 1 to 64 characters"] {
            assert_eq!(with_short_echo(text), text);
        }
        assert_eq!(with_short_echo(&"x".repeat(100_000)).chars().count(), MAX_MESSAGE_CHARACTERS + 1);
        assert_eq!(shortened(&"x".repeat(64)), "x".repeat(64));
    }
}
