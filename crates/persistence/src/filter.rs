//! WHERE clauses put together from constant fragments. Whatever comes from outside is bound, never written into a text.

use std::sync::Arc;

use crate::db::Value;

/// The conditions of one question, joined by AND.
#[derive(Default)]
pub(crate) struct Filter {
    sql: String,
    args: Vec<Value>,
}

impl Filter {
    /// Adds a condition; each `?` in it stands for the next of the values.
    pub(crate) fn and<const N: usize>(&mut self, condition: &'static str, values: [Value; N]) -> &mut Self {
        self.join();
        let mut values = values.into_iter();
        for (index, part) in condition.split('?').enumerate() {
            if index > 0 {
                let value = values.next().unwrap_or(Value::Int(None));
                let place = self.bind(value);
                self.sql.push_str(&place);
            }
            self.sql.push_str(part);
        }
        self
    }

    /// Adds a condition with one `?`, if there is a value.
    pub(crate) fn and_if(&mut self, condition: &'static str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.and(condition, [value.into()]);
        }
        self
    }

    /// The column is one of these values; no values mean no condition.
    pub(crate) fn and_one_of<V: Into<Value>>(
        &mut self,
        column: &'static str,
        values: impl IntoIterator<Item = V>,
    ) -> &mut Self {
        let places: Vec<String> = values.into_iter().map(|value| self.bind(value.into())).collect();
        if !places.is_empty() {
            self.join();
            self.sql.push_str(column);
            self.sql.push_str(" IN (");
            self.sql.push_str(&places.join(", "));
            self.sql.push(')');
        }
        self
    }

    /// The whole statement: `head`, the conditions, `tail`; each `?` in the tail stands for the next of the values.
    pub(crate) fn statement<const N: usize>(
        mut self,
        head: &str,
        tail: &'static str,
        values: [Value; N],
    ) -> (Arc<str>, Vec<Value>) {
        let mut text = head.to_owned();
        if !self.sql.is_empty() {
            text.push_str(" WHERE ");
            text.push_str(&self.sql);
        }
        let mut values = values.into_iter();
        for (index, part) in tail.split('?').enumerate() {
            if index > 0 {
                let value = values.next().unwrap_or(Value::Int(None));
                text.push_str(&self.bind(value));
            }
            text.push_str(part);
        }
        (Arc::from(text), self.args)
    }

    fn join(&mut self) {
        if !self.sql.is_empty() {
            self.sql.push_str(" AND ");
        }
    }

    fn bind(&mut self, value: Value) -> String {
        self.args.push(value);
        format!("${}", self.args.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;

    #[test]
    fn values_are_bound_in_the_order_of_their_places() {
        let mut filter = Filter::default();
        filter.and("(a, b) < (?, ?)", [1.into(), "x".into()]).and_if("c = ?", None::<i64>).and_if("d = ?", Some(4));
        filter.and_one_of("e", ["y", "z"]).and_one_of("f", Vec::<i64>::new());
        let (text, args) = filter.statement("SELECT * FROM t", " ORDER BY a LIMIT ?", [9.into()]);
        assert_eq!(&*text, "SELECT * FROM t WHERE (a, b) < ($1, $2) AND d = $3 AND e IN ($4, $5) ORDER BY a LIMIT $6");
        assert_eq!(args.len(), 6);
    }

    #[test]
    fn no_conditions_make_no_where() {
        let (text, args) = Filter::default().statement("SELECT 1", "", []);
        assert_eq!((&*text, args.len()), ("SELECT 1", 0));
    }
}
