//! The names of fields and variants, of which each is written once and has a number from then on.

/// The names of fields and variants, by their numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names<'n> {
    known: Vec<&'n str>,
    /// The one that mostly comes next.
    next: usize,
    /// Fields that were left out, of values that came back without them as they were.
    left_out: Vec<(&'static str, &'static str)>,
    /// Whether the value that is written leaves out another, or has a name that was not there before.
    is_new: bool,
}

impl<'n> Names<'n> {
    pub(crate) fn new(known: &[&'n str]) -> Self {
        Self { known: known.to_vec(), ..Self::default() }
    }

    pub(crate) fn known(&self) -> &[&'n str] {
        &self.known
    }

    /// A type and a field that it left out, if there was one.
    pub(crate) fn left_out(&self) -> Option<(&'static str, &'static str)> {
        self.left_out.first().copied()
    }

    /// Whether there was something new since this was last asked.
    #[inline]
    pub(crate) fn take_new(&mut self) -> bool {
        std::mem::take(&mut self.is_new)
    }

    /// The number of a name; if it has none, the one that it is given.
    #[inline]
    pub(super) fn number(&mut self, name: &'static str) -> Result<usize, usize> {
        if let Some(next) = self.known.get(self.next)
            && std::ptr::eq(*next, name)
        {
            self.next += 1;
            return Ok(self.next - 1);
        }
        self.search(name)
    }

    #[inline(never)]
    fn search(&mut self, name: &'static str) -> Result<usize, usize> {
        let same = |known: &&str| std::ptr::eq(*known, name);
        let found = self.known.iter().position(same);
        let found = found.or_else(|| self.known.iter().position(|known| *known == name));
        // A name that was not there gets the next number.
        let number = found.unwrap_or(self.known.len());
        self.next = number + 1;
        match self.known.get_mut(number) {
            // The same text may lie in several places: from now on it is found where it is asked for.
            Some(known) => {
                *known = name;
                Ok(number)
            }
            None => {
                self.known.push(name);
                self.is_new = true;
                Err(number)
            }
        }
    }

    /// Notes that a type leaves out a field.
    pub(super) fn leave_out(&mut self, of: &'static str, name: &'static str) {
        if !self.left_out.contains(&(of, name)) {
            self.left_out.push((of, name));
            self.is_new = true;
        }
    }
}
