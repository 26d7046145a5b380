//! Tidy tables as CSV: one row an observation.

use std::fmt::Display;

/// A table as a file.
#[derive(Debug, Clone)]
pub struct Sheet {
    pub name: &'static str,
    rows: Vec<Vec<String>>,
}

/// A field that is empty where there is no value.
pub fn or_empty<T: Display>(value: Option<T>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

impl Sheet {
    /// A file by its name, with the names of its columns, between commas.
    pub fn new(name: &'static str, columns: &str) -> Self {
        Self { name, rows: vec![columns.split(',').map(str::to_owned).collect()] }
    }

    /// Adds a row: what it is of, and its fields.
    pub fn row(&mut self, key: &[&str], fields: &[&dyn Display]) {
        let key = key.iter().map(|field| (*field).to_owned());
        let row: Vec<String> = key.chain(fields.iter().map(|field| field.to_string())).collect();
        debug_assert_eq!(row.len(), self.rows[0].len(), "{}: a field for each column", self.name);
        self.rows.push(row);
    }

    pub fn text(&self) -> String {
        let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        // Into memory, with rows of any length: there is nothing that could fail.
        let _ = self.rows.iter().try_for_each(|row| writer.write_record(row));
        String::from_utf8_lossy(&writer.into_inner().unwrap_or_default()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        let quoted = |text: &str| {
            let mut sheet = Sheet::new("a.csv", "key,text,number");
            sheet.row(&["k"], &[&text, &0.5]);
            sheet.text()
        };
        for (text, expected) in [
            ("city, fibre", "\"city, fibre\""),
            ("say \"yes\"", "\"say \"\"yes\"\"\""),
            ("plain", "plain"),
        ] {
            assert_eq!(quoted(text), format!("key,text,number\nk,{expected},0.5\n"));
        }
    }
}
