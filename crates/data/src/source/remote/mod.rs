//! Sources that are not on this machine: the web, the Hugging Face hub, object stores.

pub(crate) mod http;
pub(crate) mod hub;
#[cfg(feature = "object-store")]
pub(crate) mod objects;
mod robots;
pub(crate) mod sitemap;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

/// The user's cache folder, by the usual variables.
fn cache_home() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("XDG_CACHE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(|| PathBuf::from(".cache"))
}
