//! What the integration tests share. Each test file uses a part of it.

pub mod delay;
pub mod sshd;

/// Prints why a test was skipped; where everything has to be there (CI), that is a failure.
pub fn skip(why: &str) {
    println!("skipped: {why}");
    assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "skipped in CI: {why}");
}

/// The path of a program, or None.
pub fn program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(sbin).map(|dir| dir.join(name)).find(|file| file.is_file())
}
