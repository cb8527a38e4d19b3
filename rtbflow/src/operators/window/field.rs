//! Aggregates of what a function finds in each record.

/// Makes an aggregate of what a function finds in a record: a tuple struct of that function.
macro_rules! of_a_field {
    ($aggregate:ident) => {
        impl<F> $aggregate<F> {
            /// Of what this function finds in a record.
            #[must_use]
            pub fn of<T, N>(number: F) -> Self
            where
                F: Fn(&T) -> N + Send + 'static,
            {
                Self(number)
            }
        }

        impl<F> std::fmt::Debug for $aggregate<F> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($aggregate))
            }
        }
    };
}
pub(super) use of_a_field;
