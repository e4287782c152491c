//! Comma-separated values by RFC 4180, for spreadsheets that must not take them for formulas.

use super::super::AuthenticationLogEntry;

/// The first row.
pub(super) const NAMES: &[u8] = b"id,deviceId,tenantId,ipAddress,userAgent,timestamp,success,authenticationMethod,\
failureReason,failureCode,apiKeyPrefix,certificateSerialNumber,correlationId,attempts\r\n";

/// Writes an attempt's row. What is absent is an empty value.
pub(super) fn write(output: &mut Vec<u8>, entry: &AuthenticationLogEntry) {
    let text = |value: Option<&dyn std::fmt::Display>| value.map(ToString::to_string).unwrap_or_default();
    let values = [
        entry.id.to_string(),
        text(entry.device_id.as_ref().map(|id| id as _)),
        text(entry.tenant_id.as_ref().map(|id| id as _)),
        entry.ip_address.to_string(),
        entry.user_agent.clone().unwrap_or_default(),
        entry.timestamp.to_string(),
        entry.success.to_string(),
        entry.authentication_method.to_owned(),
        entry.failure_reason.clone().unwrap_or_default(),
        entry.failure_code.clone().unwrap_or_default(),
        text(entry.api_key_prefix.as_ref().map(|prefix| prefix as _)),
        text(entry.certificate_serial_number.as_ref().map(|serial| serial as _)),
        entry.correlation_id.clone(),
        entry.attempts.to_string(),
    ];
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            output.push(b',');
        }
        write_value(output, value);
    }
    output.extend_from_slice(b"\r\n");
}

fn write_value(output: &mut Vec<u8>, value: &str) {
    let is_formula = value.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let is_quoted = value.contains(['"', ',', '\r', '\n']);
    if is_quoted {
        output.push(b'"');
    }
    if is_formula {
        output.push(b'\'');
    }
    for octet in value.bytes() {
        if octet == b'"' {
            output.push(b'"');
        }
        output.push(octet);
    }
    if is_quoted {
        output.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_they_must_be_and_never_a_formula() {
        let written = |value: &str| {
            let mut output = vec![];
            write_value(&mut output, value);
            String::from_utf8(output).unwrap()
        };
        assert_eq!(written("plain text; with = inside"), "plain text; with = inside");
        assert_eq!(written("a,b"), "\"a,b\"");
        assert_eq!(written("say \"hi\""), "\"say \"\"hi\"\"\"");
        assert_eq!(written("two\r\nlines"), "\"two\r\nlines\"");
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"] {
            assert_eq!(written(formula), format!("'{formula}"));
        }
        assert_eq!(written("\rx"), "\"'\rx\"");
        assert_eq!(written("=HYPERLINK(\"x\",\"y\")"), "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\"");
    }
}
