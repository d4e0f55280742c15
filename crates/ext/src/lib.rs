//! Extensions: a XEP is a file, and a line in [`install_all`].
//!
//! Each declares at start what it answers and what it shows (`stonechat_router::Registrar`); it reaches the server through
//! the capabilities of `stonechat_router::Context` alone. How to add one: `docs/adding-an-extension.md`.

mod core;
pub mod documents;
mod forms;
mod kept;
mod pages;
mod xep_0012;
mod xep_0030;
mod xep_0049;
mod xep_0054;
mod xep_0077;
mod xep_0092;
pub mod xep_0115;
mod xep_0157;
mod xep_0191;
mod xep_0199;
mod xep_0202;
mod xep_0280;
mod xep_0313;
mod xep_0357;
mod xep_0494;

use stonechat_router::Registrar;

/// Installs every extension.
pub fn install_all(registrar: &mut Registrar) {
    core::declare(registrar);
    registrar.install(xep_0012::LastActivity);
    registrar.install(xep_0030::Disco);
    registrar.install(xep_0049::PrivateStorage);
    registrar.install(xep_0054::VCard);
    registrar.install(xep_0077::Registration);
    registrar.install(xep_0092::SoftwareVersion);
    registrar.install(xep_0115::Capabilities);
    registrar.install(xep_0157::ContactAddresses);
    registrar.install(xep_0191::Blocking);
    registrar.install(xep_0199::Ping);
    registrar.install(xep_0202::EntityTime);
    registrar.install(xep_0280::Carbons);
    registrar.install(xep_0313::Archive);
    registrar.install(xep_0357::Push);
    registrar.install(xep_0494::ClientAccess);
}
