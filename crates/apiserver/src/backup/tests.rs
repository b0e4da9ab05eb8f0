use serde_json::{Value, json};

use super::*;
use crate::indexer::ByKind;
use crate::kinds::{CollectionId, Kinds};
use crate::store::Store;
use crate::testing::Folder;

const FIRST: CollectionId = CollectionId(0);

fn open(folder: &Path) -> Store {
    let kinds = Kinds::load();
    // The thread of a store that was just dropped may still hold the file.
    for _ in 0..500 {
        match Store::open(folder, kinds.collections(), ByKind::of(&kinds)) {
            Ok(store) => return store,
            Err(_) => std::thread::yield_now(),
        }
    }
    Store::open(folder, kinds.collections(), ByKind::of(&kinds)).expect("a store")
}

async fn put(store: &Store, name: &'static str) -> u64 {
    let mut object: Value = json!({"metadata": {"name": name}});
    store.write(move |txn| Ok(txn.put(FIRST, &mut object).revision)).await.expect("written")
}

fn names(store: &Store) -> Vec<String> {
    store.read().collections[0].objects.iter().map(|(key, _)| key.to_string()).collect()
}

#[tokio::test]
async fn a_restored_store_holds_what_was_backed_up_and_its_revisions_go_on_rising() {
    let folder = Folder::new("backup");
    let (data, file) = (folder.path().join("data"), folder.path().join("backup"));
    std::fs::create_dir(&data).expect("a folder");
    let store = open(&data);
    put(&store, "kept").await;
    drop(store);
    backed_up(&data, &file);
    let store = open(&data);
    let last = put(&store, "lost").await;
    drop(store);

    let refused = restored(&data, &file, false).expect_err("objects are there");
    assert!(refused.ends_with("--overwrite puts the backup in their place"), "{refused}");
    restored(&data, &file, true).expect("restored");
    let store = open(&data);
    assert_eq!(names(&store), ["kept"]);
    assert!(store.revision() > last);
    assert!(put(&store, "new").await > last);

    let fresh = folder.path().join("fresh");
    restored(&fresh, &file, false).expect("restored");
    assert_eq!(names(&open(&fresh)), ["kept"]);
}

/// As often as the thread of a store that was just dropped takes to let go.
fn until_free<T>(mut what: impl FnMut() -> Result<T, BackupError>) -> Result<T, String> {
    for _ in 0..5_000 {
        match what() {
            Err(BackupError::Store(error)) if error.to_string().contains("another process") => std::thread::yield_now(),
            done => return done.map_err(|error| error.to_string()),
        }
    }
    what().map_err(|error| error.to_string())
}

fn backed_up(data: &Path, file: &Path) {
    until_free(|| backup(data, file)).expect("backed up");
}

fn restored(data: &Path, file: &Path, overwrite: bool) -> Result<(), String> {
    until_free(|| restore(data, file, overwrite))
}

#[tokio::test]
async fn a_running_store_is_not_restored_into() {
    let folder = Folder::new("backup-running");
    let (data, file) = (folder.path().join("data"), folder.path().join("backup"));
    std::fs::create_dir(&data).expect("a folder");
    drop(open(&data));
    backed_up(&data, &file);
    let _running = open(&data);
    let refused = restore(&data, &file, true).expect_err("it runs").to_string();
    assert!(refused.ends_with("another process has it open"), "{refused}");
}

#[test]
fn what_is_no_backup_changes_nothing() {
    let folder = Folder::new("no-backup");
    let (data, file) = (folder.path().join("data"), folder.path().join("text"));
    let said = |file: &Path| restore(&data, file, true).expect_err("no backup").to_string();
    assert!(said(&file).ends_with("text cannot be read: No such file or directory (os error 2)"));
    for text in ["", "kind: List\n"] {
        std::fs::write(&file, text).expect("a file");
        assert!(said(&file).contains("text is no backup: "), "{}", said(&file));
        assert_eq!(std::fs::read_to_string(&file).expect("the file"), text);
    }
    assert!(!data.exists());
    let gone = backup(&data, &file).expect_err("no store").to_string();
    assert!(gone.starts_with("there is no store in "), "{gone}");
}
