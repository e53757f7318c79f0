//! The training flags of a module, to be put back after something that needs others.

use super::{Buffer, Module, Parameter, Training, Visitor};

/// The flags of everything inside a module, in the order of a visit.
pub(crate) struct Modes(Vec<bool>);

impl Modes {
    /// The flags as they are.
    pub(crate) fn of<M: Module + ?Sized>(module: &M) -> Self {
        let mut flags = Vec::new();
        module.visit(&mut Each(|t: &Training| flags.push(t.get())));
        Self(flags)
    }

    /// Puts them back.
    pub(crate) fn restore<M: Module + ?Sized>(self, module: &M) {
        let mut flags = self.0.into_iter();
        module.visit(&mut Each(|t: &Training| {
            if let Some(flag) = flags.next() {
                t.set(flag);
            }
        }));
    }
}

/// Calls a function with each flag.
struct Each<F>(F);

impl<F: FnMut(&Training)> Visitor for Each<F> {
    fn enter(&mut self, _name: &str) {}

    fn leave(&mut self) {}

    fn training(&mut self, training: &Training) {
        (self.0)(training);
    }

    fn parameter(&mut self, _name: &str, _parameter: &Parameter) {}

    fn buffer(&mut self, _name: &str, _buffer: &Buffer) {}
}
