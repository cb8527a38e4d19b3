//! How late a record may be, and what becomes of one that is later: what all windows over event time have.

use std::time::Duration;

use crate::operators::late::Undecided;
use crate::operators::window::late_policy::LatePolicy;

/// How long after its end a window takes records, and what becomes of later ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lateness<L = Undecided> {
    pub(crate) allowed: Duration,
    pub(crate) policy: L,
}

impl Lateness {
    /// None is allowed, and nothing is said of later records.
    pub(crate) const UNDECIDED: Self = Self { allowed: Duration::ZERO, policy: Undecided };

    pub(crate) fn decided<L: LatePolicy>(self, policy: L) -> Lateness<L> {
        Lateness { allowed: self.allowed, policy }
    }
}

impl<L> Lateness<L> {
    /// What the topology says of a kind of windows.
    pub(crate) fn described(&self, kind: &str) -> String {
        if self.allowed.is_zero() {
            kind.to_owned()
        } else {
            format!("{kind}, allowed lateness {:?}", self.allowed)
        }
    }
}

/// The setters of windows that have a [`Lateness`] beside these fields, and what makes them windows; `kind`
/// says what the topology calls them, and `check` whether they can be used.
macro_rules! with_lateness {
    (
        impl $windows:ident $([$of:ident: $($bound:tt)+])? { $($field:ident),+ }
        $(#[$allowed:meta])+
    ) => {
        impl$(<$of>)? $windows$(<$of>)? {
            /// Says what happens to late records.
            pub fn late<L: $crate::operators::window::late_policy::LatePolicy>(
                self,
                late: L,
            ) -> $windows<$($of,)? L> {
                let Self { $($field,)+ lateness } = self;
                $windows { $($field,)+ lateness: lateness.decided(late) }
            }
        }

        impl<$($of,)? L> $windows<$($of,)? L> {
            $(#[$allowed])+
            pub fn allowed_lateness(mut self, allowed_lateness: std::time::Duration) -> Self {
                self.lateness.allowed = allowed_lateness;
                self
            }
        }

        impl<$($of,)? L> $crate::operators::window::assign::Windows for $windows<$($of,)? L>
        where
            $($of: $($bound)+,)?
            L: $crate::operators::window::late_policy::LatePolicy,
        {
            type Late = L;

            fn allowed_lateness(&self) -> std::time::Duration {
                self.lateness.allowed
            }

            fn late(&self) -> L {
                self.lateness.policy
            }

            fn describe(&self) -> String {
                self.lateness.described(&self.kind())
            }

            fn validate(&self) -> $crate::error::Result<()> {
                self.check()
            }

            fn layout(&self) -> String {
                self.kind().into()
            }
        }
    };
}
pub(crate) use with_lateness;
