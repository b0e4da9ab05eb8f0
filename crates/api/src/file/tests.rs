use expect_test::{Expect, expect};

use super::*;

fn check(file: &str, expected: Expect) {
    let mut text = String::new();
    for entry in documents(file.as_bytes()).iter().flat_map(Document::entries) {
        let content = match &entry.content {
            Content::Object(object) => format!("{} {}/{}", object.kind(), object.meta().namespace, object.meta().name),
            Content::Skipped => format!("skipped {} {}", entry.api_version, entry.kind),
            Content::Broken(error) => format!("broken {error}"),
        };
        text.push_str(&format!("{}: {content}\n", entry.place));
    }
    expected.assert_eq(&text);
}

#[test]
fn yaml_documents_are_read_one_by_one() {
    check(
        "# a comment\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports: [{port: 80}]\n--- # second\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n---\n---\napiVersion: v1\nkind: Service\n\
         metadata: {name: bad, namespace: shop}\nspec:\n  ports:\n  - port: eighty\n---\napiVersion: v1\nkind: Node\nmetadata:\n  name: n1\n",
        expect![[r#"
            document 1 (line 2): Service default/web
            document 2 (line 8): skipped apps/v1 Deployment
            document 3 (line 14): broken Service shop/bad: spec.ports[0].port: invalid type: string "eighty", expected i32
            document 4 (line 21): Node /n1
        "#]],
    );
}

#[test]
fn a_document_that_does_not_parse_leaves_the_others_alone() {
    check(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\na: [1\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n",
        expect![[r#"
            document 1 (line 1): Namespace /a
            document 2 (line 4): broken object: unclosed bracket '[' at line 2, column 4
            document 3 (line 6): Namespace /b
        "#]],
    );
}

#[test]
fn lists_hold_objects_in_yaml_and_json() {
    check(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: b}}\n- {apiVersion: v1, kind: Service, metadata: {}}\n",
        expect![[r#"
            document 1, items[0]: Secret default/s
            document 1, items[1]: broken Service: metadata.name: required
        "#]],
    );
    check(
        r#"{"apiVersion":"v1","kind":"List","items":[
            {"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}},
            {"apiVersion":"networking.k8s.io/v1beta1","kind":"Ingress","metadata":{"name":"old"}},
            null, 7]}
           {"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSliceList","items":[{"metadata":{"name":"x","namespace":"n"}}]}"#,
        expect![[r#"
            document 1, items[0]: Service default/a
            document 1, items[1]: skipped networking.k8s.io/v1beta1 Ingress
            document 1, items[2]: broken object: invalid type: null, expected an object at line 1 column 4
            document 1, items[3]: broken object: invalid type: integer `7`, expected an object at line 1 column 1
            document 2, items[0]: EndpointSlice n/x
        "#]],
    );
}

#[test]
fn broken_json_tells_where() {
    check(
        "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"a\"}}\n{\"apiVersion\":",
        expect![[r#"
            document 1 (line 1): Service default/a
            document 2 (line 2): broken object: EOF while parsing a value at line 2 column 14
        "#]],
    );
}

#[test]
fn what_has_no_kind_is_told() {
    check(
        "apiVersion: v1\nmetadata: {name: x}\n---\njust text\n",
        expect![[r#"
            document 1 (line 1): broken object x: kind: required
            document 2 (line 3): broken object: kind: required
        "#]],
    );
}

#[test]
fn nothing_holds_nothing() {
    check("", expect![[""]]);
    check("# only\n---\n# comments\n...\n", expect![[""]]);
}

#[test]
fn values_that_a_server_would_refuse_are_refused() {
    // YAML reads an unquoted `true` as a boolean; the API server takes only strings here.
    check(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, annotations: {a: true}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: '%'}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  empty:\n",
        expect![[r#"
            document 1 (line 1): broken ConfigMap c: metadata.annotations.a: invalid type: boolean `true`, expected a string
            document 2 (line 4): broken Secret s: data.k: not base64: Invalid symbol 37, offset 0.
            document 3 (line 9): ConfigMap default/c
        "#]],
    );
}

#[test]
fn a_long_yaml_list_meets_no_limit() {
    let mut file = String::from("apiVersion: v1\nkind: NamespaceList\nitems:\n");
    for n in 0..30_000 {
        file.push_str(&format!("- metadata: {{name: n{n}, labels: {{a: b, c: d, e: f, g: h, i: j}}}}\n"));
    }
    let entries: Vec<_> = documents(file.as_bytes()).iter().flat_map(Document::entries).collect();
    assert_eq!(entries.iter().filter(|entry| matches!(entry.content, Content::Object(_))).count(), 30_000);
}
