//! Lists that are longer than one piece.

use super::*;
use crate::media::{Format, Shape};
use crate::protobuf;

impl Server {
    async fn list(&self, url: &str, format: Format, shape: Shape) -> Vec<u8> {
        let answer = self.send_for(Media { format, shape }, &format!("GET {url}"), "", Vec::new()).await.expect("a list");
        assert!(matches!(answer.body, Body::Stream(_)), "{url} was to be a long list");
        whole(answer.body).await
    }
}

#[tokio::test]
async fn a_long_list_is_the_same_in_every_form() {
    let server = Server::start("long-lists").await;
    let shared = server.api.clone();
    let many = server.api.store.write(move |txn| {
        let maps = shared.collection(shared.kinds.core("configmaps"));
        for n in 0..1_200 {
            let meta = json!({"name": format!("m{n:04}"), "namespace": "default", "labels": {"n": n.to_string()}});
            txn.put(maps, &mut json!({"metadata": meta, "data": {"text": "x".repeat(n % 200)}}));
        }
        Ok(())
    });
    many.await.expect("written");

    let text = server.list(MAPS, Format::Json, Shape::Object).await;
    let list: Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!((list.text("kind"), list.text("apiVersion"), list.items("items").len()), ("ConfigMapList", "v1", 1_200));
    let bytes = server.list(MAPS, Format::Protobuf, Shape::Object).await;
    let decoded = protobuf::decode(&server.api.schema, &bytes).expect("protobuf");
    assert_eq!(decoded.items("items"), list.items("items"));
    assert_eq!(decoded["metadata"], list["metadata"]);

    let table: Value = serde_json::from_slice(&server.list(MAPS, Format::Json, Shape::Table { beta: false }).await).expect("JSON");
    let rows = table.items("rows");
    assert_eq!((table.text("kind"), rows.len(), rows[1_199]["cells"][0].as_str()), ("Table", 1_200, Some("m1199")));
    assert_eq!(table["metadata"], list["metadata"]);
    let partial: Value = serde_json::from_slice(&server.list(MAPS, Format::Json, Shape::Partial { beta: false }).await).expect("JSON");
    assert_eq!(partial.items("items").len(), 1_200);
    assert_eq!(partial.items("items")[7]["metadata"], list.items("items")[7]["metadata"]);
}
