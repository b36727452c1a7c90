//! A request as a curl command.

use serde_json::Value;
use ureq::http::Method;

/// The command that sends the same request.
pub(super) fn command(method: &Method, url: &str, token: Option<&str>, body: Option<&Value>) -> String {
    let mut words = vec!["curl".to_owned()];
    if *method != Method::GET {
        words.push(format!("-X {method}"));
    }
    if let Some(token) = token {
        words.push(format!("-H {}", quoted(&format!("Authorization: Bearer {token}"))));
    }
    if let Some(body) = body {
        words.push("-H 'Content-Type: application/json'".into());
        words.push(format!("-d {}", quoted(&body.to_string())));
    }
    words.push(quoted(url));
    words.join(" ")
}

/// One word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_asked_stays_one_word() {
        let body = json!({"name": "it's; $(id)"});
        let command = command(&Method::POST, "http://h/volumes", Some("t"), Some(&body));
        let wanted = r#"curl -X POST -H 'Authorization: Bearer t' -H 'Content-Type: application/json' -d '{"name":"it'\''s; $(id)"}' 'http://h/volumes'"#;
        assert_eq!(command, wanted);
        assert_eq!(super::command(&Method::GET, "http://h/x", None, None), "curl 'http://h/x'");
    }
}
