//! Files that ship with Giliran.

/// The example that ships with Giliran: the Batam offices.
pub const BATAM: &str = include_str!("../examples/batam.toml");

/// A file with every key there is, and what each is for.
pub const EXAMPLE: &str = include_str!("../examples/complete.toml");
