//! Ansible's conversions of argument values: `"yes"` for a bool, `"a,b"` for a list, `"0644"` or `0644` or
//! `"u=rw,g=r"` for a mode. Used as `#[serde(deserialize_with = "args::flag")]`.
