//! Who may do what: every route, with every kind of token, good and bad, in both roles.

use std::collections::BTreeSet;

use crate::http::{Answer, Token, ask, send};
use crate::server::{ADMIN_KEY, Server, USER_KEY};

const ID: &str = "00000000000000000000000000000000";

/// Every route that there is, with each of its methods. Ids are of nobody.
const ROUTES: [(&str, &str); 37] = [
    ("POST", "/clusters"),
    ("GET", "/clusters"),
    ("GET", "/clusters/ID"),
    ("POST", "/clusters/ID/flags"),
    ("DELETE", "/clusters/ID"),
    ("POST", "/nodes"),
    ("GET", "/nodes/ID"),
    ("DELETE", "/nodes/ID"),
    ("POST", "/nodes/ID/state"),
    ("POST", "/nodes/ID/tags"),
    ("POST", "/devices"),
    ("GET", "/devices/ID"),
    ("DELETE", "/devices/ID"),
    ("POST", "/devices/ID/state"),
    ("GET", "/devices/ID/resync"),
    ("POST", "/devices/ID/tags"),
    ("POST", "/volumes"),
    ("GET", "/volumes"),
    ("POST", "/volumes/plan"),
    ("GET", "/volumes/ID"),
    ("POST", "/volumes/ID/expand"),
    ("DELETE", "/volumes/ID"),
    ("POST", "/volumes/ID/block-restriction"),
    ("GET", "/queue/ID"),
    ("GET", "/operations"),
    ("GET", "/operations/pending"),
    ("GET", "/operations/pending/ID"),
    ("POST", "/operations/pending/cleanup"),
    ("GET", "/admin"),
    ("POST", "/admin"),
    ("GET", "/internal/logging"),
    ("POST", "/internal/logging"),
    ("GET", "/db/dump"),
    ("GET", "/db/check"),
    ("GET", "/backup/db"),
    ("GET", "/internal/state/examine/gluster"),
    // What is no route is closed too: nobody learns which ones there are.
    ("GET", "/nothing"),
];

/// What is wrong with a token, its header, and what is said about it.
fn defects(method: &str, path: &str) -> Vec<(&'static str, Option<String>, u16, &'static str)> {
    let good = || Token::admin(method, path);
    let header = "Authorization header format must be Bearer {token}";
    let signature = "Invalid JWT token: signature is invalid (client and server secrets may not match)";
    let early = "Invalid JWT token: Token used before issued (client and server clocks may differ)";
    let qsh = "Invalid qsh claim in token";
    let tampered = good().bearer().replace("bearer ey", "bearer eY");
    let cut = good().bearer().rsplit_once('.').unwrap().0.to_owned();
    vec![
        ("no header", None, 401, "Required authorization token not found"),
        ("an empty header", Some(String::new()), 401, "Required authorization token not found"),
        ("another scheme", Some("Basic eDp5".into()), 400, header),
        ("three words", Some(format!("{} x", good().bearer())), 400, header),
        ("two segments", Some(cut), 401, "Invalid JWT token: token contains an invalid number of segments"),
        ("a changed header", Some(tampered), 401, "Invalid JWT token: "),
        ("the key of users", Some(Token { key: USER_KEY, ..good() }.bearer()), 401, signature),
        ("no key", Some(Token { key: "", ..good() }.bearer()), 401, signature),
        (
            "alg none",
            Some(Token { algorithm: "none", ..good() }.bearer()),
            401,
            "Invalid JWT token: Unexpected signing method: none",
        ),
        // Signed with our secret as if it were the text of a public key.
        (
            "RS256",
            Some(Token { algorithm: "RS256", ..good() }.bearer()),
            401,
            "Invalid JWT token: Unexpected signing method: RS256",
        ),
        (
            "an unknown algorithm",
            Some(Token { algorithm: "HS1", ..good() }.bearer()),
            401,
            "Invalid JWT token: signing method (alg) is unavailable.",
        ),
        (
            "expired",
            Some(Token { issued: -600, expires: -300, ..good() }.bearer()),
            401,
            "Invalid JWT token: Token is expired by 5m",
        ),
        (
            "no expiry",
            Some(Token { without: "exp", ..good() }.bearer()),
            401,
            "Invalid JWT token: Token is expired by ",
        ),
        ("issued in ten minutes", Some(Token { issued: 600, expires: 900, ..good() }.bearer()), 401, early),
        (
            "not yet valid",
            Some(Token { valid_from: Some(60), ..good() }.bearer()),
            401,
            "Invalid JWT token: token is not valid yet",
        ),
        (
            "another issuer",
            Some(Token { issuer: "root", ..good() }.bearer()),
            401,
            "Invalid JWT token: Unknown user",
        ),
        (
            "no issuer",
            Some(Token { without: "iss", ..good() }.bearer()),
            401,
            "Invalid JWT token: Token missing iss claim",
        ),
        ("no path", Some(Token { without: "qsh", ..good() }.bearer()), 401, qsh),
        (
            "of another path",
            Some(Token { signed_for: format!("{method}&/hello"), ..good() }.bearer()),
            401,
            qsh,
        ),
        (
            "of another method",
            Some(Token { signed_for: format!("PATCH&{path}"), ..good() }.bearer()),
            401,
            qsh,
        ),
    ]
}

fn is_refusal_of_a_token(answer: &Answer) -> bool {
    answer.status == 401
        || (answer.status == 400 && answer.body.starts_with("Authorization header format"))
        || answer.body.contains("JWT")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_defect_is_refused_on_every_route() {
    let server = Server::start(8).await;
    let before = server.wishes().await;
    let mut asked = 0;
    for (method, path) in ROUTES {
        let path = path.replace("ID", ID);
        // A body that would do something.
        let body = (method == "POST").then_some(br#"{"size":1,"file":true,"state":"read-only"}"#.as_slice());
        for (what, header, status, text) in defects(method, &path) {
            let answer = send(server.address, method, &path, header.as_deref(), body).await;
            assert_eq!(answer.status, status, "{what}: {method} {path}: {answer:?}");
            assert!(answer.body.starts_with(text), "{what}: {method} {path}: {answer:?}");
            assert!(!answer.headers.contains_key("www-authenticate"));
            assert!(!answer.body.contains(ADMIN_KEY), "a secret is told");
            asked += 1;
        }
    }
    assert_eq!(asked, ROUTES.len() * 20);
    server.unchanged_since(&before).await;
    let mode = ask(server.address, "GET", "/admin", None).await;
    assert_eq!(mode.body, "{\"state\":\"normal\"}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_gets_where_it_may_and_no_further() {
    let server = Server::start(8).await;
    let mut open_to_users = BTreeSet::new();
    for (method, path) in ROUTES {
        let path = path.replace("ID", ID);
        let body = (method == "POST").then_some(b"[".as_slice());
        let admin = Token::admin(method, &path).bearer();
        let answer = send(server.address, method, &path, Some(&admin), body).await;
        assert!(!is_refusal_of_a_token(&answer), "{method} {path}: {answer:?}");
        let user = Token::user(method, &path).bearer();
        let answer = send(server.address, method, &path, Some(&user), body).await;
        if !is_refusal_of_a_token(&answer) {
            open_to_users.insert(format!("{method} {path}"));
            continue;
        }
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (401, "Administrator access required\n"),
            "{method} {path}"
        );
    }
    let wanted = ["GET /volumes", "POST /volumes"].map(str::to_owned);
    assert_eq!(open_to_users, BTreeSet::from(wanted));
    for path in ["/hello", "/metrics"] {
        assert_eq!(send(server.address, "GET", path, None, None).await.status, 200, "{path}");
        assert_eq!(send(server.address, "POST", path, None, None).await.status, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_one_route_and_its_query_does_not_count() {
    let server = Server::start(8).await;
    for (method, path) in ROUTES {
        let path = path.replace("ID", ID);
        let token = Token::admin(method, &path).bearer();
        // The same token on every other route.
        for (other_method, other) in ROUTES {
            let other = other.replace("ID", ID);
            if (method, path.as_str()) == (other_method, other.as_str()) {
                continue;
            }
            let answer = send(server.address, other_method, &other, Some(&token), None).await;
            let wanted = (401, "Invalid qsh claim in token\n");
            assert_eq!(
                (answer.status, answer.body.as_str()),
                wanted,
                "{method} {path} on {other_method} {other}"
            );
        }
    }
    let token = Token::admin("GET", "/clusters").bearer();
    for path in ["/clusters?x=y", "/%63lusters"] {
        assert_eq!(send(server.address, "GET", path, Some(&token), None).await.status, 200, "{path}");
    }
}
