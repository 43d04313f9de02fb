//! `--shard 2/3`: one of several controllers that share a fleet. All of them choose the same clients and each works on its
//! own part; no two parts have a client in common, and together they are all.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Which part of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    /// From 1 on.
    pub index: usize,
    pub of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Shard, String> {
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let found = text.split_once('/').and_then(|(index, of)| Some(Shard { index: number(index)?, of: number(of)? }));
        match found {
            Some(shard) if (1..=shard.of).contains(&shard.index) => Ok(shard),
            Some(Shard { index: 0, of }) if of > 0 => Err(format!("shards are counted from 1: 1/{of} is the first")),
            Some(shard) => Err(format!("there is no part {} of {}", shard.index, shard.of)),
            None => Err("write it as 2/3: the second of three parts".to_owned()),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl Shard {
    /// This part of the hosts, as large as the others but for one. Only the names count: another order of the inventory, or
    /// another pattern for the same hosts, gives the same parts.
    pub fn pick(self, hosts: &[String]) -> Vec<String> {
        let names: BTreeSet<&String> = hosts.iter().collect();
        let mine: BTreeSet<&String> = names.into_iter().skip(self.index - 1).step_by(self.of).collect();
        hosts.iter().filter(|host| mine.contains(host)).cloned().collect()
    }

    /// This part of the hosts, said on stderr. Err: there are fewer hosts than parts, and this one has nothing to do.
    pub fn of_hosts(self, hosts: &[String]) -> Result<Vec<String>> {
        let mine = self.pick(hosts);
        let said = format!("part {self}: {} of {} clients", mine.len(), hosts.len());
        // an empty list of hosts means every host further on
        if mine.is_empty() {
            return Err(Error::nothing_to_do(said));
        }
        eprintln!("{said}");
        Ok(mine)
    }

    /// The part that a command line asked for, and the command without it.
    pub fn of_command(words: &[String]) -> (Option<Shard>, Vec<String>) {
        let (mut shard, mut others) = (None, Vec::new());
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.strip_prefix("--shard") {
                Some("") => shard = words.next().and_then(|value| value.parse().ok()),
                Some(value) if value.starts_with('=') => shard = value[1..].parse().ok(),
                _ => others.push(word.clone()),
            }
        }
        (shard, others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_cover_each_host_once_in_any_order() {
        let hosts: Vec<String> = (0..17).map(|number| format!("h{number}")).collect();
        let backwards: Vec<String> = hosts.iter().rev().cloned().collect();
        for of in 1..=20 {
            let parts: Vec<Vec<String>> = (1..=of).map(|index| Shard { index, of }.pick(&hosts)).collect();
            let mut all: Vec<&String> = parts.iter().flatten().collect();
            all.sort_unstable();
            let mut sorted: Vec<&String> = hosts.iter().collect();
            sorted.sort_unstable();
            assert_eq!(all, sorted, "{of} parts");
            let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
            for (number, part) in parts.iter().enumerate() {
                let mut other = Shard { index: number + 1, of }.pick(&backwards);
                other.reverse();
                assert_eq!(*part, other);
            }
        }
    }

    #[test]
    fn a_part_is_read_and_a_wrong_one_told_why() {
        assert_eq!("2/3".parse(), Ok(Shard { index: 2, of: 3 }));
        for (text, why) in [
            ("0/3", "shards are counted from 1: 1/3 is the first"),
            ("4/3", "there is no part 4 of 3"),
            ("0/0", "there is no part 0 of 0"),
            ("2", "write it as 2/3: the second of three parts"),
            ("a/b", "write it as 2/3: the second of three parts"),
        ] {
            assert_eq!(text.parse::<Shard>(), Err(why.to_owned()));
        }
        let nobody = Shard { index: 3, of: 3 }.of_hosts(&["a".to_owned(), "b".to_owned()]).unwrap_err();
        assert_eq!((nobody.to_string().as_str(), nobody.well), ("part 3/3: 0 of 2 clients", true));
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for line in ["provision up --shard 2/3 --all", "provision up --shard=2/3 --all"] {
            assert_eq!(Shard::of_command(&words(line)), (Some(Shard { index: 2, of: 3 }), words("provision up --all")));
        }
    }
}
