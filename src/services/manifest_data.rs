//! What of a service is data: where it lies, whose it is, and how each part is backed up and given back.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    pub path: String,
    #[serde(default)]
    pub class: String,
    #[serde(default)]
    pub owner: Option<String>,
    #[serde(default)]
    pub backup: Option<String>,
}

/// One part of a service's backups.
#[derive(Clone, Debug, Deserialize)]
pub struct Backup {
    /// Tells parts of one kind apart; the kind's word if not given.
    #[serde(default)]
    pub name: Option<String>,
    #[serde(flatten)]
    pub kind: BackupKind,
}

/// How a part is taken and given back.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum BackupKind {
    /// Plain SQL by `pg_dump`; without `database` every database of the server and its roles.
    Postgres {
        service: String,
        user: Option<String>,
        database: Option<String>,
        /// Setting that holds the password; none where the server trusts its own socket.
        password_var: Option<String>,
    },
    /// Plain SQL by `mariadb-dump`; without `database` every database of the server and its users.
    #[serde(alias = "mysql")]
    Mariadb { service: String, user: Option<String>, database: Option<String>, password_var: Option<String> },
    /// The package's own `databases`, on whichever server they are.
    Databases {},
    /// What `BGSAVE` writes.
    Redis {
        service: String,
        /// The folder of its data, below the service's root.
        path: String,
        password_var: Option<String>,
    },
    /// Files and folders below the service's root, owners and modes kept.
    Files {
        paths: Vec<String>,
        /// Hold the containers still while they are copied: for databases that live in files.
        #[serde(default)]
        pause: bool,
    },
    /// `.env` and the compose file, encrypted for the operators.
    Config {},
    /// Scripts of the package: one writes the backup to standard output, the other reads it.
    Job {
        service: String,
        run: String,
        restore: String,
        #[serde(default)]
        env: Vec<String>,
        user: Option<String>,
    },
}

impl Backup {
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.kind.word().to_owned())
    }
}

impl BackupKind {
    pub fn word(&self) -> &'static str {
        match self {
            BackupKind::Postgres { .. } => "postgres",
            BackupKind::Mariadb { .. } => "mariadb",
            BackupKind::Databases {} => "databases",
            BackupKind::Redis { .. } => "redis",
            BackupKind::Files { .. } => "files",
            BackupKind::Config {} => "config",
            BackupKind::Job { .. } => "job",
        }
    }

    /// The stack's service in whose container it is done.
    pub fn service(&self) -> Option<&str> {
        match self {
            BackupKind::Postgres { service, .. }
            | BackupKind::Mariadb { service, .. }
            | BackupKind::Redis { service, .. }
            | BackupKind::Job { service, .. } => Some(service),
            BackupKind::Databases {} | BackupKind::Files { .. } | BackupKind::Config {} => None,
        }
    }
}
