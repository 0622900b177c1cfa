//! Values that must not be seen.

use zeroize::Zeroize;

/// A secret: has no `Debug`, `Display` or `Serialize`, and its memory is overwritten when it is dropped.
///
/// The only way in is [`Secret::expose`], which is easy to search for. A struct that derives `Debug` cannot hold one,
/// so a secret cannot reach a log by accident:
///
/// ```compile_fail
/// let secret = kernel::Secret::new(String::from("sk-1"));
/// println!("{secret:?}");
/// ```
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes charge of a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value. Whoever calls this answers for where it goes.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + Clone> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl From<String> for Secret<String> {
    fn from(value: String) -> Self {
        Self(value)
    }
}
