//! All that a study has to say, and what is made of it.

use serde_json::Value;

use crate::document::Document;
use crate::sheet::Sheet;
use crate::{page, pictures};

/// All that a study has to say.
pub struct Report {
    pub screen: Document,
    /// For the page, with charts.
    pub page: Document,
    pub sheets: Vec<Sheet>,
    pub data: Value,
}

impl Report {
    /// As text for a terminal.
    pub fn text(&self) -> String {
        self.screen.as_text()
    }

    /// As one HTML file that needs no network and no script.
    pub fn html(&self) -> String {
        page::html(&self.page)
    }

    /// Its charts as files: name, after the chart's title, and content. `made_by`: the
    /// command, which each file names.
    pub fn pictures(&self, made_by: &str) -> Vec<(String, String)> {
        pictures::pictures(&self.page, made_by)
    }

    pub fn json(&self) -> String {
        format!("{:#}\n", self.data)
    }
}
