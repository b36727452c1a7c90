//! Merge patch and JSON patch.

use json_patch::{PatchOperation, jsonptr::resolve::Resolve as _};
use serde_json::Value;

use super::status::Refusal;

/// More operations than this in one JSON patch are refused.
const MAX_OPERATIONS: usize = 10_000;

/// A patch as it was sent.
#[derive(Debug)]
pub(super) enum Patch {
    Merge(Value),
    Json(Vec<PatchOperation>),
}

impl Patch {
    /// Reads the body in the form that the content type names.
    pub(super) fn parse(content_type: &str, body: &[u8]) -> Result<Patch, Refusal> {
        const SERVED: &str = "application/json-patch+json, application/merge-patch+json";
        let unreadable = |e: serde_json::Error| Refusal::bad_request(format!("error decoding patch: {e}"));
        match content_type {
            "application/merge-patch+json" => {
                let patch: Value = serde_json::from_slice(body).map_err(unreadable)?;
                if !patch.is_object() {
                    return Err(Refusal::bad_request("error decoding patch: a merge patch is an object"));
                }
                Ok(Patch::Merge(patch))
            }
            "application/json-patch+json" => {
                let operations: Vec<PatchOperation> = serde_json::from_slice(body).map_err(unreadable)?;
                if operations.len() > MAX_OPERATIONS {
                    return Err(Refusal::too_large(MAX_OPERATIONS));
                }
                Ok(Patch::Json(operations))
            }
            other => Err(Refusal::unsupported_media(other, SERVED)),
        }
    }

    /// Whether it can change nothing but the metadata of an object.
    pub(super) fn is_of_metadata(&self) -> bool {
        match self {
            Patch::Merge(patch) => {
                patch.as_object().is_some_and(|fields| fields.keys().all(|field| field == "metadata"))
            }
            Patch::Json(_) => false,
        }
    }

    /// Changes `document`.
    pub(super) fn apply(&self, document: &mut Value) -> Result<(), Refusal> {
        match self {
            Patch::Merge(patch) => json_patch::merge(document, patch),
            Patch::Json(operations) => {
                for operation in operations {
                    if passes_as_absent(operation, document) {
                        continue;
                    }
                    json_patch::patch(document, std::slice::from_ref(operation)).map_err(|e| {
                        Refusal::unprocessable(format!(
                            "the patch does not fit: {} at {}",
                            e.kind,
                            operation.path()
                        ))
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// `test` for null on a path that is not there passes: the API server's patch library has it so, and the
/// finalizer code of kube adds the first finalizer on the strength of it.
fn passes_as_absent(operation: &PatchOperation, document: &Value) -> bool {
    match operation {
        PatchOperation::Test(test) => test.value.is_null() && document.resolve(&test.path).is_err(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn json_patch(operations: Value, mut on: Value) -> Option<Value> {
        let body = operations.to_string();
        let patch = Patch::parse("application/json-patch+json", body.as_bytes()).unwrap();
        patch.apply(&mut on).ok().map(|()| on)
    }

    #[test]
    fn test_for_null_passes_on_an_absent_path() {
        let add = json!([
            { "op": "test", "path": "/metadata/finalizers", "value": null },
            { "op": "add", "path": "/metadata/finalizers", "value": ["a/b"] },
        ]);
        let after = json_patch(add.clone(), json!({ "metadata": {} }));
        assert_eq!(after, Some(json!({ "metadata": { "finalizers": ["a/b"] } })));
        assert_eq!(json_patch(add, json!({ "metadata": { "finalizers": ["x/y"] } })), None);
    }

    #[test]
    fn operations_see_those_before_them() {
        let patch = json!([
            { "op": "add", "path": "/a", "value": 1 },
            { "op": "test", "path": "/a", "value": null },
        ]);
        assert_eq!(json_patch(patch, json!({})), None);
    }

    #[test]
    fn merge_removes_with_null() {
        let patch = Patch::parse("application/merge-patch+json", br#"{"a":null,"b":{"c":2}}"#).unwrap();
        let mut on = json!({ "a": 1, "b": { "d": 3 } });
        patch.apply(&mut on).unwrap();
        assert_eq!(on, json!({ "b": { "c": 2, "d": 3 } }));
    }

    #[test]
    fn a_patch_of_metadata_is_told() {
        let is_of_metadata = |form: &str, body: &Value| {
            Patch::parse(&format!("application/{form}+json"), body.to_string().as_bytes())
                .unwrap()
                .is_of_metadata()
        };
        let metadata = json!({ "metadata": { "finalizers": null } });
        assert!(is_of_metadata("merge-patch", &metadata) && is_of_metadata("merge-patch", &json!({})));
        assert!(!is_of_metadata("merge-patch", &json!({ "metadata": {}, "spec": null })));
        assert!(!is_of_metadata("json-patch", &json!([])));
    }

    #[test]
    fn other_forms_are_refused() {
        for form in ["application/apply-patch+yaml", "application/strategic-merge-patch+json", ""] {
            assert_eq!(Patch::parse(form, b"{}").unwrap_err().code(), 415, "{form}");
        }
    }
}
