//! One of two: what a flow of two kinds of records carries.

use serde::{Deserialize, Serialize};

/// A value of the one kind or of the other: records of two topics that are read together, or the two
/// outputs of an operator.
///
/// More than two nest: `Either<Either<A, B>, C>`.
///
/// ```
/// use rtbflow::Either;
///
/// let click: Either<u32, &str> = Either::Left(1200);
/// assert_eq!(click.left(), Some(1200));
/// assert_eq!(click.right(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Either<L, R> {
    /// The one kind.
    Left(L),
    /// The other kind.
    Right(R),
}

impl<L, R> Either<L, R> {
    /// The value, if it is of the one kind.
    #[inline]
    #[must_use]
    pub fn left(self) -> Option<L> {
        match self {
            Self::Left(left) => Some(left),
            Self::Right(_) => None,
        }
    }

    /// The value, if it is of the other kind.
    #[inline]
    #[must_use]
    pub fn right(self) -> Option<R> {
        match self {
            Self::Left(_) => None,
            Self::Right(right) => Some(right),
        }
    }
}
