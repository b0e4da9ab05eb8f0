//! The file: SQLite in WAL mode, each commit synced. One table of objects, and the revision.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use super::StoreError;

pub(crate) struct Disk {
    connection: Connection,
    path: String,
}

/// One row to write.
pub(super) struct Row<'a> {
    pub(super) collection: &'a str,
    pub(super) key: &'a str,
    /// None: the object is gone.
    pub(super) object: Option<(u64, &'a [u8])>,
}

/// An object as it was found at the start.
pub(crate) struct Found {
    pub(crate) collection: String,
    pub(crate) key: String,
    pub(super) revision: u64,
    pub(crate) json: Vec<u8>,
}

/// All that a store holds.
pub(crate) struct Contents {
    pub(crate) objects: Vec<Found>,
    pub(crate) revision: u64,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS objects (collection TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, json BLOB NOT NULL,
                                        PRIMARY KEY (collection, key)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS revision (only INTEGER PRIMARY KEY CHECK (only = 1), value INTEGER NOT NULL);
    INSERT OR IGNORE INTO revision VALUES (1, 1);
";

impl Disk {
    pub(crate) fn open(path: &Path) -> Result<Disk, StoreError> {
        let name = path.display().to_string();
        let open = || {
            let connection = Connection::open(path)?;
            // EXCLUSIVE: two servers on one folder would each believe in their own memory.
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        match open() {
            Ok(connection) => Ok(Disk { connection, path: name }),
            Err(error) => Err(StoreError::Sqlite { path: name, error }),
        }
    }

    /// Opens a file that is only read, such as a backup: nothing in it is changed, or made should it not be a store.
    pub(crate) fn read(path: &Path) -> Result<Disk, StoreError> {
        let name = path.display().to_string();
        match Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
            Ok(connection) => Ok(Disk { connection, path: name }),
            Err(error) => Err(StoreError::Sqlite { path: name, error }),
        }
    }

    pub(crate) fn contents(&self) -> Result<Contents, StoreError> {
        Ok(Contents { objects: self.objects()?, revision: self.revision()? })
    }

    /// Puts `contents` in the place of all that is there, or changes nothing. Returns once they are on the disk.
    pub(crate) fn replace(&self, contents: &Contents) -> Result<(), StoreError> {
        let replace = || {
            let transaction = self.connection.unchecked_transaction()?;
            transaction.execute("DELETE FROM objects", [])?;
            {
                let mut put = transaction.prepare("INSERT INTO objects VALUES (?1, ?2, ?3, ?4)")?;
                for found in &contents.objects {
                    put.execute(params![found.collection, found.key, found.revision as i64, found.json])?;
                }
            }
            transaction.execute("UPDATE revision SET value = ?1", params![contents.revision as i64])?;
            transaction.commit()
        };
        replace().map_err(|error| self.failed(error))
    }

    /// Closes it as one file that can be read from a place where nothing can be written: without a log beside it.
    pub(crate) fn into_file(self) -> Result<(), StoreError> {
        self.connection.pragma_update(None, "journal_mode", "DELETE").map_err(|error| self.failed(error))
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn failed(&self, error: rusqlite::Error) -> StoreError {
        StoreError::Sqlite { path: self.path.clone(), error }
    }

    pub(super) fn revision(&self) -> Result<u64, StoreError> {
        let value: i64 =
            self.connection.query_row("SELECT value FROM revision", [], |row| row.get(0)).map_err(|error| self.failed(error))?;
        Ok(value.unsigned_abs())
    }

    /// Every object, in no order.
    pub(super) fn objects(&self) -> Result<Vec<Found>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Found>> {
            let mut statement = self.connection.prepare("SELECT collection, key, revision, json FROM objects")?;
            let rows = statement.query_map([], |row| {
                let revision: i64 = row.get(2)?;
                Ok(Found { collection: row.get(0)?, key: row.get(1)?, revision: revision.unsigned_abs(), json: row.get(3)? })
            })?;
            rows.collect()
        };
        read().map_err(|error| self.failed(error))
    }

    /// Writes all rows and the revision, or nothing. Returns once they are on the disk.
    pub(super) fn commit<'a>(&self, rows: impl Iterator<Item = Row<'a>>, revision: u64) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        {
            let mut put = transaction.prepare("INSERT OR REPLACE INTO objects VALUES (?1, ?2, ?3, ?4)")?;
            let mut delete = transaction.prepare("DELETE FROM objects WHERE collection = ?1 AND key = ?2")?;
            for row in rows {
                match row.object {
                    Some((revision, json)) => put.execute(params![row.collection, row.key, revision as i64, json])?,
                    None => delete.execute(params![row.collection, row.key])?,
                };
            }
            transaction.execute("UPDATE revision SET value = ?1", params![revision as i64])?;
        }
        transaction.commit()
    }
}
