//! Extensions: a XEP is a file, and a line in this list.

use stonechat_router::Registrar;

/// Installs every extension.
pub fn install_all(_registrar: &mut Registrar) {}
