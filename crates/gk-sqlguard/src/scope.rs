//! How far a grant goes.

/// How far a grant goes: to everything of its kind, or to what is named and nothing else.
///
/// There is no default, and no list that means everything by being empty: who grants everything has
/// to say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<T> {
    /// Every thing of the kind.
    Any,
    /// The named things alone. An empty list is nothing.
    Only(T),
}

impl<T> Scope<T> {
    /// The same scope, of what `change` makes of the names.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Scope<U> {
        match self {
            Self::Any => Scope::Any,
            Self::Only(names) => Scope::Only(change(names)),
        }
    }

    /// Returns whether something is in the scope; `names` decides for what is named.
    pub fn allows(&self, names: impl FnOnce(&T) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Only(listed) => names(listed),
        }
    }

    /// The same scope, borrowed.
    pub const fn as_ref(&self) -> Scope<&T> {
        match self {
            Self::Any => Scope::Any,
            Self::Only(names) => Scope::Only(names),
        }
    }
}

impl<T, E> Scope<Result<T, E>> {
    /// The scope, or the error of its names.
    ///
    /// # Errors
    ///
    /// The names are an error.
    pub fn transpose(self) -> Result<Scope<T>, E> {
        match self {
            Self::Any => Ok(Scope::Any),
            Self::Only(names) => names.map(Scope::Only),
        }
    }
}
