//! Request bodies: from bytes in one of three encodings to an object of the kind that the path asks for.
//!
//! Source: apiserver's pkg/endpoints/handlers (create.go, rest.go: transformDecodeError), whose texts are kept.

use serde_json::{Value, json};

use crate::api_state::Api;
use crate::protobuf;
use crate::refusal::Refusal;
use crate::request::{Call, FieldValidation};
use crate::schema::Gvk;
use crate::validate;
use crate::value::Get;

/// An object that has the shape of its kind, and what its writer is to be warned about.
pub(super) struct Decoded {
    pub(super) object: Value,
    pub(super) warnings: Vec<String>,
}

/// Reads the body as an object of kind `gvk`.
pub(super) fn object(api: &Api, call: &Call, gvk: &Gvk, validation: FieldValidation) -> Result<Decoded, Refusal> {
    let (object, duplicates) = any(api, call, gvk)?;
    shaped(api, gvk, object, duplicates, validation)
}

/// Checks that an object, from a body or a patch, has the shape of its kind.
pub(super) fn shaped(
    api: &Api,
    gvk: &Gvk,
    mut object: Value,
    mut faults: Vec<String>,
    validation: FieldValidation,
) -> Result<Decoded, Refusal> {
    let refuse = |text: &str| {
        let (kind, version) = (&gvk.kind, gvk.api_version());
        Refusal::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {text}",
            version.rsplit('/').next().unwrap_or_default()
        ))
    };
    let is_kind = |object: &Value| object.text("kind").is_empty() || object.text("kind") == gvk.kind;
    let is_version = |object: &Value| object.text("apiVersion").is_empty() || object.text("apiVersion") == gvk.api_version();
    if !is_version(&object) {
        let (found, wanted) = (object.text("apiVersion"), gvk.api_version());
        return Err(Refusal::bad_request(format!(
            "the API version in the data ({found}) does not match the expected API version ({wanted})"
        )));
    }
    if !is_kind(&object) {
        let (found, version) = (object.text("kind").to_owned(), gvk.version.clone());
        return Err(Refusal::bad_request(format!(
            "{found} in version {version:?} cannot be handled as a {}: converting ({version}.{found}) to ({}.{}): unknown conversion",
            gvk.kind,
            if gvk.group.is_empty() { "core" } else { gvk.group.split('.').next().unwrap_or_default() },
            gvk.kind
        )));
    }
    validate::structure(&api.schema, gvk, &object).map_err(|text| refuse(&text))?;
    faults.extend(validate::unknown_fields(&api.schema, gvk, &object));
    if validation == FieldValidation::Strict && !faults.is_empty() {
        return Err(refuse(&format!("strict decoding error: {}", faults.join(", "))));
    }
    if validation == FieldValidation::Ignore {
        faults.clear();
    }
    let Some(fields) = object.as_object_mut() else { return Err(refuse("json: the body is no object")) };
    fields.insert("kind".to_owned(), gvk.kind.clone().into());
    fields.insert("apiVersion".to_owned(), gvk.api_version().into());
    if !fields.at("metadata").is_object() {
        fields.insert("metadata".to_owned(), json!({}));
    }
    Ok(Decoded { object, warnings: faults })
}

/// Any object, and which of its fields came twice. An empty body is `{}` where options are read.
pub(super) fn any(api: &Api, call: &Call, gvk: &Gvk) -> Result<(Value, Vec<String>), Refusal> {
    let unrecognized =
        |text: &str| Refusal::bad_request(format!("the object provided is unrecognized (must be of type {}): {text}", gvk.kind));
    match call.content_type.as_str() {
        "" | "application/json" => {
            let parsed = validate::parse(&call.body);
            parsed.map_err(|text| unrecognized(&format!("couldn't get version/kind; json parse error: {text}")))
        }
        "application/yaml" => {
            let parsed: Result<Value, _> = serde_saphyr::from_slice(&call.body);
            Ok((parsed.map_err(|error| unrecognized(&format!("yaml: {error}")))?, Vec::new()))
        }
        "application/vnd.kubernetes.protobuf" => {
            let decoded = protobuf::decode(&api.schema, &call.body);
            Ok((decoded.map_err(|error| unrecognized(&error.to_string()))?, Vec::new()))
        }
        _ => Err(Refusal::unsupported_body()),
    }
}
