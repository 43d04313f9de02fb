//! `provision secrets rekey` and `secrets offboard`: who can read the clients' secrets, over time.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::common::Fleet;
use crate::error::{Error, Result};
use crate::secrets::{Draft, EnvFile, Recipients};
use crate::services::backup;
use crate::services::manifest::Rotate;

/// All files of settings, those of clients that the inventory no longer knows, too.
pub(super) fn all_files(fleet: &Fleet) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(fleet.inventory.data_dir().join("vps_data")).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    let mut files: Vec<PathBuf> = files
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".env.age")))
        .collect();
    files.sort();
    files
}

/// `clienteA/hub`
pub(super) fn short(path: &Path) -> String {
    let part = |path: Option<&Path>| path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let name = part(Some(path)).unwrap_or_default();
    format!("{}/{}", part(path.parent()).unwrap_or_default(), name.trim_end_matches(".env.age"))
}

/// Every file that others can read than those who should, encrypted anew and not yet in its place.
fn drafts(fleet: &Fleet, readers: &Recipients) -> Result<Vec<(PathBuf, Draft)>> {
    let own = fleet.identities.own_recipients();
    if !own.is_empty() && !own.iter().any(|key| readers.lines().contains(key)) {
        return Err(Error::new(
            "your own key would not be among the recipients: you could not read the secrets any more",
        )
        .hint("add your public key to .age-recipients, or let somebody do this who stays"));
    }
    let (mut drafts, mut errors) = (Vec::new(), Vec::new());
    for path in all_files(fleet) {
        match EnvFile::load(&path, &fleet.identities).and_then(|mut file| file.draft(&path, readers)) {
            Ok(draft) => drafts.extend(draft.map(|draft| (path, draft))),
            Err(error) => errors.push(error),
        }
    }
    match Error::all(errors) {
        Some(error) => Err(error),
        None => Ok(drafts),
    }
}

fn recipients_file(fleet: &Fleet) -> PathBuf {
    fleet.inventory.data_dir().join(".age-recipients")
}

pub fn rekey(fleet: &Fleet, check: bool) -> Result<u8> {
    let readers = crate::services::settings::recipients(&fleet.inventory)?;
    let total = all_files(fleet).len();
    let drafts = drafts(fleet, &readers)?;
    let changed = drafts.len();
    for (path, draft) in drafts {
        println!("{} {}", short(&path), if check { "would be encrypted anew" } else { "encrypted anew" });
        if !check {
            draft.commit()?;
        }
    }
    println!("{changed} of {total} files {} other readers", if check { "have" } else { "had" });
    Ok(0)
}

/// The lines of the file that belong to a person: keys, and the comments that name them.
fn lines_of(text: &str, name: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let word = |comment: &str| comment == name || comment.split([' ', '@', ',', ':']).any(|word| word == name);
    let is_key = |line: &str| !line.is_empty() && !line.starts_with('#');
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| is_key(line)) {
        let mut words = line.splitn(3, ' ');
        let kind = words.next().unwrap_or_default();
        let (key, comment) = match kind.starts_with("ssh-") {
            true => (words.next().unwrap_or_default(), words.next().unwrap_or_default()),
            false => (kind, ""),
        };
        let above = index.checked_sub(1).and_then(|above| lines.get(above)?.strip_prefix('#')).map(str::trim);
        let named_above = above.is_some_and(word) && !above.is_some_and(|text| text.contains("Who may read"));
        if *line == name || key == name || format!("{kind} {key}") == name || word(comment) || named_above {
            if named_above {
                found.push(index - 1);
            }
            found.push(index);
        }
    }
    found
}

pub fn offboard(fleet: &Fleet, name: &str, check: bool) -> Result<u8> {
    let path = recipients_file(fleet);
    let before = crate::services::settings::recipients(&fleet.inventory)?;
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::new(format!("cannot read `{}`: {error}", path.display())))?;
    let gone = lines_of(&text, name);
    if gone.is_empty() {
        return Err(Error::new(format!("no key in `{}` belongs to `{name}`", path.display()))
            .hint("name the comment of an SSH key, the comment line above a key, or the key itself"));
    }
    let left: String = text
        .lines()
        .enumerate()
        .filter(|(index, _)| !gone.contains(index))
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    let after = Recipients::parse(&left, &path)
        .map_err(|error| error.hint("a key that stays has to be added first: provision secrets init age1…"))?;
    let removed: Vec<String> = before.lines().iter().filter(|key| !after.lines().contains(key)).cloned().collect();
    let readable = readable(fleet, &removed)?;
    let drafts = drafts(fleet, &after)?;
    if !check {
        let trouble = |error: std::io::Error| Error::new(format!("cannot write `{}`: {error}", path.display()));
        let mut file = tempfile::NamedTempFile::new_in(fleet.inventory.data_dir()).map_err(trouble)?;
        file.write_all(left.as_bytes()).map_err(trouble)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(trouble)?;
        file.as_file().sync_all().map_err(trouble)?;
        // first, so that `rekey` ends what is interrupted from here on
        file.persist(&path).map_err(|error| trouble(error.error))?;
    }
    removed.iter().for_each(|key| println!("{} {key}", if check { "would be removed:" } else { "removed:" }));
    let count = drafts.len();
    if !check {
        drafts.into_iter().try_for_each(|(_, draft)| draft.commit())?;
    }
    println!("{count} files {}", if check { "would be encrypted anew" } else { "encrypted anew" });
    println!("\nWhat `{name}` could read, and may have copied (older versions in git stay readable to that key):");
    for (key, hosts) in readable {
        println!("{}", advice(fleet, &key, &hosts.join(",")));
    }
    println!("\nAccess over ssh is another matter: take the person's key out of the hosts' accounts as well.");
    Ok(0)
}

/// `service/KEY` → hosts, of the files that one of these keys opens.
fn readable(fleet: &Fleet, keys: &[String]) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in all_files(fleet) {
        if !EnvFile::recipients_of(&path)?.iter().any(|key| keys.contains(key)) {
            continue;
        }
        let name = short(&path);
        let (host, service) = name.split_once('/').unwrap_or_default();
        for key in EnvFile::keys_of(&path)? {
            found.entry(format!("{service}/{key}")).or_default().push(host.to_owned());
        }
    }
    Ok(found)
}

/// What to do about one secret that somebody knows.
fn advice(fleet: &Fleet, name: &str, hosts: &str) -> String {
    let (service, key) = name.split_once('/').unwrap_or_default();
    let package = fleet.catalogue.get(service).ok();
    let spec = package.and_then(|package| package.manifest.secrets.iter().find(|secret| secret.key == key));
    let own = package.is_some_and(|package| package.manifest.variables.iter().any(|one| one.key == key && one.secret));
    match spec.and_then(|spec| spec.rotate.as_ref()) {
        Some(Rotate::Never(why)) => format!("  # {name} on {hosts}: by hand: {why}"),
        _ if service == backup::SECRETS => format!("  # {name} on {hosts}: by hand: what is kept was made with it"),
        _ if own => format!("  provision secrets rotate {name} --host {hosts} --given"),
        _ => format!("  provision secrets rotate {name} --host {hosts}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_found_by_key_comment_and_the_line_above() {
        let text = "# Who may read ana\nage1own\n# ana, laptop\nage1ana\nssh-ed25519 AAAA ana@phone\nssh-ed25519 BBBB diana@pc\n";
        assert_eq!(lines_of(text, "ana"), [2, 3, 4]);
        assert_eq!(lines_of(text, "diana@pc"), [5]);
        assert_eq!(lines_of(text, "age1own"), [1]);
        assert_eq!(lines_of(text, "ssh-ed25519 BBBB"), [5]);
        assert!(lines_of(text, "an").is_empty());
    }
}
