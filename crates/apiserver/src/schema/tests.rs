use super::*;

fn field<'a>(schema: &'a Schema, gvk: &Gvk, path: &[&str]) -> &'a Field {
    let mut ty = schema.kind(gvk).expect("a kind");
    for name in &path[..path.len() - 1] {
        ty = schema.struct_in(&ty.field(name).expect("a field").ty).expect("a struct");
    }
    ty.field(path[path.len() - 1]).expect("a field")
}

#[test]
fn every_field_has_a_number_and_is_held_somehow() {
    let schema = Schema::load();
    for ty in &schema.types {
        for field in ty.fields() {
            let envelope = matches!(field.name.as_str(), "kind" | "apiVersion");
            assert!(field.number > 0 || envelope, "{}.{} has no protobuf number", ty.name, field.name);
        }
    }
}

#[test]
fn the_four_files_meet_in_one_field() {
    let schema = Schema::load();
    let service = Gvk::new("", "v1", "Service");
    let ports = field(&schema, &service, &["spec", "ports"]);
    assert_eq!(ports.list, ListType::Map(vec!["port".into(), "protocol".into()]));
    assert_eq!(ports.merge.key.as_deref(), Some("port"));
    assert_eq!((ports.number, ports.held), (1, Held::ByPointer));
    let protocol = field(&schema, &service, &["spec", "ports", "protocol"]);
    assert_eq!((protocol.number, &protocol.default), (2, &Some("TCP".into())));
    assert_eq!(field(&schema, &service, &["spec", "ports", "nodePort"]).held, Held::ByValue);
    assert!(field(&schema, &service, &["spec", "selector"]).atomic_map);
    let volume = field(&schema, &Gvk::new("", "v1", "Pod"), &["spec", "volumes", "emptyDir"]);
    assert_eq!((volume.number, volume.outer), (2, Some(2)));
    let finalizers = field(&schema, &service, &["metadata", "finalizers"]);
    assert_eq!((&finalizers.list, finalizers.merge.merge), (&ListType::Set, true));
}

#[test]
fn kinds_are_named_by_group_version_and_kind() {
    let schema = Schema::load();
    for (api_version, kind) in
        [("v1", "Pod"), ("apps/v1", "Deployment"), ("v1", "DeleteOptions"), ("autoscaling/v1", "Scale"), ("v1", "PodList")]
    {
        assert!(schema.kind(&Gvk::parse(api_version, kind)).is_some(), "{api_version} {kind}");
    }
    assert!(schema.kind(&Gvk::parse("apps/v1", "Pod")).is_none());
    assert_eq!(Gvk::parse("apps/v1", "Deployment").api_version(), "apps/v1");
}
