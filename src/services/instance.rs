//! One package may run several times on a host: `chat` and `chat@tienda2`. The part behind the `@` goes into every
//! name that the two would otherwise share: folder, project, networks, routers, the file of secrets, the record.

use std::fmt;

use crate::error::{Error, Result};

/// A package as it runs on a host: `chat`, or `chat@tienda2` for one more of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The package's id.
    pub package: String,
    /// What is behind the `@`.
    pub suffix: Option<String>,
}

impl Instance {
    /// The one without a suffix.
    pub fn plain(package: &str) -> Instance {
        Instance { package: package.to_owned(), suffix: None }
    }

    /// `chat@tienda2` taken apart; whether there is such a package is not asked.
    pub fn parse(name: &str) -> Result<Instance> {
        let Some((package, suffix)) = name.split_once('@') else { return Ok(Instance::plain(name)) };
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        // it becomes part of host names and of Docker's project names
        if suffix.is_empty() || suffix.len() > 30 || !suffix.chars().all(valid) || suffix.starts_with('-') {
            return Err(Error::new(format!("`{suffix}` of `{name}` cannot name an instance"))
                .hint("lowercase letters, digits and `-`, at most 30: chat@tienda2"));
        }
        Ok(Instance { package: package.to_owned(), suffix: Some(suffix.to_owned()) })
    }

    /// `chat-tienda2`: for folders, projects and host names.
    pub fn slug(&self) -> String {
        match &self.suffix {
            None => self.package.clone(),
            Some(suffix) => format!("{}-{suffix}", self.package),
        }
    }

    /// The compose project or swarm stack.
    pub fn project(&self) -> String {
        format!("versatile-{}", self.slug())
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.package)?;
        self.suffix.as_ref().map_or(Ok(()), |suffix| write!(f, "@{suffix}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_and_put_together() {
        let second = Instance::parse("chat@tienda2").unwrap();
        assert_eq!((second.package.as_str(), second.suffix.as_deref()), ("chat", Some("tienda2")));
        assert_eq!((second.slug().as_str(), second.project().as_str()), ("chat-tienda2", "versatile-chat-tienda2"));
        assert_eq!(second.to_string(), "chat@tienda2");
        assert_eq!(Instance::parse("chat").unwrap(), Instance::plain("chat"));
        for wrong in ["chat@", "chat@A", "chat@a_b", "chat@-a", "chat@a@b", "chat@a/b"] {
            assert!(Instance::parse(wrong).is_err(), "{wrong}");
        }
    }
}
