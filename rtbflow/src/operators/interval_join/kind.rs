//! What a join emits: of pairs, and of records without a partner.

use serde::{Deserialize, Serialize};

/// What a join emits.
pub trait JoinKind<L, R>: Send + 'static {
    /// The values that go out.
    type Out: Send + 'static;

    /// What the topology says of the records that are emitted without a partner.
    const SIDES: &'static str;
    /// Whether left records without a partner are emitted.
    const LEFT: bool;
    /// Whether right records without a partner are emitted.
    const RIGHT: bool;

    /// A left record and its partner.
    fn pair(left: L, right: R) -> Self::Out;
    /// A left record without a partner.
    fn left(left: L) -> Option<Self::Out>;
    /// A right record without a partner.
    fn right(right: R) -> Option<Self::Out>;
}

/// Emits pairs.
#[derive(Debug, Clone, Copy)]
pub struct Inner;

impl<L: Send + 'static, R: Send + 'static> JoinKind<L, R> for Inner {
    type Out = (L, R);
    const SIDES: &'static str = "";
    const LEFT: bool = false;
    const RIGHT: bool = false;

    #[inline]
    fn pair(left: L, right: R) -> Self::Out {
        (left, right)
    }

    fn left(_left: L) -> Option<Self::Out> {
        None
    }

    fn right(_right: R) -> Option<Self::Out> {
        None
    }
}

/// Emits pairs, and left records without a partner.
#[derive(Debug, Clone, Copy)]
pub struct LeftOuter;

impl<L: Send + 'static, R: Send + 'static> JoinKind<L, R> for LeftOuter {
    type Out = (L, Option<R>);
    const SIDES: &'static str = ", left outer";
    const LEFT: bool = true;
    const RIGHT: bool = false;

    #[inline]
    fn pair(left: L, right: R) -> Self::Out {
        (left, Some(right))
    }

    fn left(left: L) -> Option<Self::Out> {
        Some((left, None))
    }

    fn right(_right: R) -> Option<Self::Out> {
        None
    }
}

/// Emits pairs, and records of either side without a partner.
#[derive(Debug, Clone, Copy)]
pub struct FullOuter;

/// A record of one side, or one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EitherOrBoth<L, R> {
    /// A left record without a partner.
    Left(L),
    /// A right record without a partner.
    Right(R),
    /// A left record and its partner.
    Both(L, R),
}

impl<L: Send + 'static, R: Send + 'static> JoinKind<L, R> for FullOuter {
    type Out = EitherOrBoth<L, R>;
    const SIDES: &'static str = ", full outer";
    const LEFT: bool = true;
    const RIGHT: bool = true;

    #[inline]
    fn pair(left: L, right: R) -> Self::Out {
        EitherOrBoth::Both(left, right)
    }

    fn left(left: L) -> Option<Self::Out> {
        Some(EitherOrBoth::Left(left))
    }

    fn right(right: R) -> Option<Self::Out> {
        Some(EitherOrBoth::Right(right))
    }
}
