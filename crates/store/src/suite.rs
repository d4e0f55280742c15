//! The cases every backend passes. A backend's test calls [`run`] with a way to open an empty store.
