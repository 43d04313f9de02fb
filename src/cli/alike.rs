//! A table of many clients, shortened to what distinguishes them: rows that say the same are one row.

use indexmap::IndexMap;

use crate::report::causes::named;

/// Above this many clients a table is shortened, as the summary of a run is.
pub(super) const MANY: usize = 40;

/// Where a row has what is each client's own.
const CLIENT: usize = 0;
const SERVICE: usize = 1;
pub(super) const URL: usize = 7;

/// Rows that differ only in the client, the instance of the package and the URL become one, with the clients counted.
/// What most have is first: the last lines are the ones to look at. `rows` are without their head.
pub(super) fn gathered(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    for row in &mut rows {
        row[SERVICE] = package(&row[SERVICE]).to_owned();
        if let Some(url) = row.get_mut(URL) {
            url.clear();
        }
    }
    let mut rows = counted(rows);
    rows.sort_by_key(|(clients, _)| std::cmp::Reverse(*clients));
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The package of an instance: `chat` of `chat@tienda2`.
pub(super) fn package(service: &str) -> &str {
    service.split('@').next().unwrap_or(service)
}

/// Rows that differ only in the client become one that names the first of them, and how many they are.
pub(super) fn counted(rows: Vec<Vec<String>>) -> Vec<(usize, Vec<String>)> {
    let mut groups: IndexMap<Vec<String>, Vec<String>> = IndexMap::new();
    for mut row in rows {
        let client = std::mem::take(&mut row[CLIENT]);
        let clients = groups.entry(row).or_default();
        if clients.last() != Some(&client) {
            clients.push(client);
        }
    }
    let row = |(mut row, clients): (Vec<String>, Vec<String>)| {
        let clients: Vec<&str> = clients.iter().map(String::as_str).collect();
        row[CLIENT] = match clients.len() {
            1 => clients[0].to_owned(),
            all => format!("{all}: {}", named(&clients)),
        };
        (clients.len(), row)
    };
    groups.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_alike_are_one_line_and_the_odd_ones_come_last() {
        let row = |client: &str, service: &str, state: &str, url: &str| {
            [client, service, "1", "1", state, "no", "-", url].map(str::to_owned).to_vec()
        };
        let mut rows = vec![row("client0000", "tiny@n0000", "exited", "https://0.test")];
        rows.extend((1..1000).map(|n| {
            row(&format!("client{n:04}"), &format!("tiny@n{n:04}"), "healthy 1/1", &format!("https://{n}.test"))
        }));
        rows.push(["lost", "-", "-", "-", "no answer"].map(str::to_owned).to_vec());
        let rows = gathered(rows);
        let shown: Vec<String> = rows.iter().map(|row| format!("{} {} {}", row[0], row[1], row[4])).collect();
        assert_eq!(shown.len(), 3);
        assert!(shown[0].starts_with("999: client0001, client0002, "), "{}", shown[0]);
        assert!(shown[0].ends_with(" more tiny healthy 1/1"), "{}", shown[0]);
        assert_eq!(shown[1], "client0000 tiny exited");
        assert_eq!(shown[2], "lost - no answer");
        assert!(rows.iter().all(|row| row.get(URL).is_none_or(String::is_empty)));
    }
}
