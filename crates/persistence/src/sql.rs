//! Statements in the dialects of both databases.
//!
//! Set-based statements take *one* parameter, a set of rows, and read it with `{rows}`, `{int n}`, `{text n}` and
//! `{blob n}`, so that a batch costs one statement whatever its size. PostgreSQL gets the rows as an array for each column,
//! SQLite as `VALUES` with bound cells: there, reading JSON would cost more than the insert itself. The list is padded to a
//! power of two, so that there are few texts to prepare; `LIMIT` cuts the padding off.

use std::sync::{Arc, OnceLock};

use crate::db::Backend;
use crate::rows::{Kind, MAX_ROWS, Piece};

/// A statement in both dialects.
#[derive(Debug)]
pub(crate) struct Sql {
    sqlite: String,
    /// How often the SQLite text reads its set of rows.
    uses: usize,
    /// The SQLite text for 1, 2, 4, … rows, made when first needed.
    sized: [OnceLock<Arc<str>>; MAX_ROWS.ilog2() as usize + 1],
    /// The SQLite text for no rows at all.
    empty: OnceLock<Arc<str>>,
    /// The SQLite text for one row, of statements that only insert their rows.
    each: Option<Arc<str>>,
    /// Complete, but for set-based statements.
    plain: Arc<str>,
    postgres: Arc<str>,
    /// The columns that the PostgreSQL text reads, one parameter for each.
    columns: Vec<(usize, Kind)>,
}

impl Sql {
    /// One text for both; the placeholders of set-based statements are expanded.
    pub(crate) fn new(text: &str) -> Self {
        Self::pair(text, text)
    }

    /// A text for each.
    pub(crate) fn pair(sqlite: &str, postgres: &str) -> Self {
        let columns = columns_of(postgres);
        Self {
            sqlite: sqlite.to_owned(),
            uses: sqlite.matches("{rows}").count(),
            sized: [const { OnceLock::new() }; MAX_ROWS.ilog2() as usize + 1],
            empty: OnceLock::new(),
            each: insert_of_one(sqlite).map(Arc::from),
            plain: expand(sqlite, Backend::Sqlite, "").into(),
            postgres: expand(postgres, Backend::Postgres, &arrays(&columns)).into(),
            columns,
        }
    }

    /// The SQLite text for a set of so many rows, for the test of plans.
    #[cfg(test)]
    pub(crate) fn sqlite_text(&self, rows: usize) -> String {
        expand(&self.sqlite, Backend::Sqlite, &values_list(rows, WIDEST))
    }

    /// The text of a statement without rows; on PostgreSQL, of any.
    pub(crate) fn text(&self, backend: Backend) -> Arc<str> {
        match backend {
            Backend::Sqlite => Arc::clone(&self.plain),
            Backend::Postgres => Arc::clone(&self.postgres),
        }
    }

    /// The SQLite text that inserts one row, where the statement does nothing else.
    pub(crate) const fn each(&self) -> Option<&Arc<str>> {
        self.each.as_ref()
    }

    /// The columns that the PostgreSQL text reads, in the order of its parameters.
    pub(crate) fn columns(&self) -> &[(usize, Kind)] {
        &self.columns
    }

    /// The SQLite text for these rows, and what its list of cells is like.
    pub(crate) fn set_text(&self, rows: &Piece<'_>) -> (Arc<str>, List) {
        let make = |size, columns| expand(&self.sqlite, Backend::Sqlite, &values_list(size, columns)).into();
        let (text, columns, size) = if rows.is_empty() {
            (self.empty.get_or_init(|| make(1, WIDEST)), WIDEST, 1)
        } else {
            let size = rows.len().next_power_of_two();
            let text = self.sized[size.ilog2() as usize].get_or_init(|| make(size, rows.columns()));
            (text, rows.columns(), size)
        };
        (Arc::clone(text), List { cells: size * columns, uses: self.uses })
    }
}

/// The parameters of a set of rows on SQLite: so many cells, padded with nothing, and the count of the rows; all of it so
/// often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    pub(crate) cells: usize,
    pub(crate) uses: usize,
}

/// No statement reads more columns than this.
const WIDEST: usize = 32;

/// `(SELECT * FROM (VALUES (?,?),(?,?)) LIMIT ?) AS r`. The parameters have no numbers: with a number each would be looked
/// up by name when it is bound, in time that grows with their count.
fn values_list(size: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    format!("(SELECT * FROM (VALUES {}) LIMIT ?) AS r", vec![row; size].join(","))
}

/// `unnest($1::bigint[], $2::text[]) AS r(c0, c3)`, of the columns 0 and 3.
fn arrays(columns: &[(usize, Kind)]) -> String {
    let types = |(at, (_, kind)): (usize, &(usize, Kind))| match kind {
        Kind::Int => format!("${}::bigint[]", at + 1),
        Kind::Text => format!("${}::text[]", at + 1),
        Kind::Blob => format!("${}::bytea[]", at + 1),
    };
    let types: Vec<String> = columns.iter().enumerate().map(types).collect();
    let names: Vec<String> = columns.iter().map(|(column, _)| format!("c{column}")).collect();
    format!("unnest({}) AS r({})", types.join(", "), names.join(", "))
}

/// The columns of the set of rows that the text reads, ascending.
fn columns_of(text: &str) -> Vec<(usize, Kind)> {
    let column = |part: &str| {
        let (kind, number) = part.split_once('}')?.0.split_once(' ')?;
        let kind = match kind {
            "int" => Kind::Int,
            "text" => Kind::Text,
            "blob" => Kind::Blob,
            _ => return None,
        };
        Some((number.parse().ok()?, kind))
    };
    let mut columns: Vec<(usize, Kind)> = text.split('{').skip(1).filter_map(column).collect();
    columns.sort_unstable_by_key(|(column, _)| *column);
    columns.dedup();
    columns
}

/// What inserts one row, of a statement that inserts a set of rows as they are. SQLite runs it for each of a thousand rows in
/// less time than one statement for all of them, which must be prepared for being undone by itself; here whatever fails ends
/// the transaction. `None` for other statements.
fn insert_of_one(text: &str) -> Option<String> {
    let (into, rest) = text.strip_prefix("INSERT INTO ")?.split_once(" SELECT ")?;
    let (cells, rest) = rest.split_once(" FROM {rows}")?;
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix(" WHERE true")? };
    let mut columns = 0;
    for (index, cell) in cells.split(", ").enumerate() {
        let (kind, number) = cell.strip_prefix('{')?.strip_suffix('}')?.split_once(' ')?;
        if !matches!(kind, "int" | "text" | "blob") || number.parse() != Ok(index) {
            return None;
        }
        columns += 1;
    }
    Some(format!("INSERT OR ROLLBACK INTO {into} VALUES ({}){rest}", vec!["?"; columns].join(", ")))
}

/// Declares statements: `statements! { NAME = "…"; OTHER = "sqlite …" | "postgres …"; }`.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $text:literal $(| $postgres:literal)?;)*) => {$(
        $(#[$doc])*
        static $name: std::sync::LazyLock<$crate::sql::Sql> =
            std::sync::LazyLock::new(|| statements!(@ $text $(| $postgres)?));
    )*};
    (@ $text:literal) => { $crate::sql::Sql::new($text) };
    (@ $sqlite:literal | $postgres:literal) => { $crate::sql::Sql::pair($sqlite, $postgres) };
}
pub(crate) use statements;

/// Puts `rows` in the place of the set of rows, and each dialect's own words in that of the other placeholders.
fn expand(text: &str, backend: Backend, rows: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        let end = rest[start..].find('}').map_or(rest.len(), |n| start + n);
        let mut words = rest[start + 1..end].split(' ');
        let (word, index) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        out.push_str(&match (word, backend) {
            ("rows", _) => rows.to_owned(),
            ("int" | "text" | "blob", Backend::Sqlite) => {
                format!("r.column{}", index.parse::<usize>().map_or(0, |n| n + 1))
            }
            ("int" | "text" | "blob", Backend::Postgres) => format!("r.c{index}"),
            ("for_update", Backend::Postgres) => "FOR UPDATE".to_owned(),
            ("for_change", Backend::Postgres) => "FOR NO KEY UPDATE".to_owned(),
            ("for_share", Backend::Postgres) => "FOR SHARE".to_owned(),
            ("skip_locked", Backend::Postgres) => "FOR UPDATE SKIP LOCKED".to_owned(),
            ("for_update" | "for_change" | "for_share" | "skip_locked", Backend::Sqlite) => String::new(),
            _ => unreachable!("unknown placeholder in a statement: {word}"),
        });
        rest = rest.get(end + 1..).unwrap_or("");
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::{Backend, Sql, expand, insert_of_one, values_list};

    #[test]
    fn placeholders_become_each_databases_own_words() {
        let text = "SELECT {int 0}, {blob 1} FROM {rows} {for_update}";
        assert_eq!(
            expand(text, Backend::Sqlite, &values_list(2, 2)),
            "SELECT r.column1, r.column2 FROM (SELECT * FROM (VALUES (?,?),(?,?)) LIMIT ?) AS r "
        );
        assert_eq!(
            *Sql::new(text).text(Backend::Postgres),
            *"SELECT r.c0, r.c1 FROM unnest($1::bigint[], $2::bytea[]) AS r(c0, c1) FOR UPDATE"
        );
        let gaps = Sql::new("SELECT {text 3} FROM {rows} WHERE {int 1} > 0 AND {text 3} <> ''");
        assert_eq!(
            *gaps.text(Backend::Postgres),
            *"SELECT r.c3 FROM unnest($1::bigint[], $2::text[]) AS r(c1, c3) WHERE r.c1 > 0 AND r.c3 <> ''"
        );
    }

    #[test]
    fn only_what_inserts_its_rows_as_they_are_is_done_row_by_row() {
        let one = insert_of_one;
        assert_eq!(
            one("INSERT INTO t (a, b) SELECT {int 0}, {blob 1} FROM {rows}").as_deref(),
            Some("INSERT OR ROLLBACK INTO t (a, b) VALUES (?, ?)")
        );
        assert_eq!(
            one("INSERT INTO t (a) SELECT {int 0} FROM {rows} WHERE true ON CONFLICT DO NOTHING").as_deref(),
            Some("INSERT OR ROLLBACK INTO t (a) VALUES (?) ON CONFLICT DO NOTHING")
        );
        for other in [
            "INSERT INTO t (a, b) SELECT {int 1}, {int 0} FROM {rows}",
            "INSERT INTO t (a, b) SELECT {int 0}, {int 0} FROM {rows}",
            "INSERT INTO t (a, b) SELECT {int 0}, 7 FROM {rows}",
            "INSERT INTO t (a) SELECT {int 0} FROM {rows} CROSS JOIN u",
            "INSERT INTO t (a) SELECT a FROM u",
            "UPDATE t SET a = v.a FROM (SELECT {int 0} AS a FROM {rows}) AS v",
        ] {
            assert_eq!(one(other), None, "{other}");
        }
    }
}
