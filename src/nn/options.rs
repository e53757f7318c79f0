//! Options of layers: a struct with defaults and one method to set each; `()` means the defaults.

/// The line of an example that sets one option.
macro_rules! setter {
    ($name:ident $field:ident $example:expr) => {
        concat!(
            "assert_eq!(",
            stringify!($name),
            "::default().",
            stringify!($field),
            "(",
            stringify!($example),
            ").",
            stringify!($field),
            ", ",
            stringify!($example),
            ");"
        )
    };
}
pub(super) use setter;

/// Declares an options struct, each field with an example of another value; every one has `dtype` and `device` besides its own fields.
macro_rules! options {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr $(=> $example:expr)?,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
            /// Dtype and device of the parameters.
            pub tensor: $crate::tensor::Options,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* tensor: $crate::tensor::Options::default() }
            }
        }

        impl $name {
            $(
                $(#[$field_doc])*
                $(
                    ///
                    /// ```
                    /// use calor::nn::{*, functional::*, utils::*};
                    #[doc = $crate::nn::options::setter!($name $field $example)]
                    /// ```
                )?
                #[must_use]
                pub fn $field(mut self, $field: $ty) -> Self {
                    self.$field = $field;
                    self
                }
            )*

            /// Dtype and device of the parameters.
            ///
            /// ```
            /// use calor::{DType, nn::*};
            #[doc = concat!("let options = ", stringify!($name), "::default().tensor(DType::F16);")]
            /// assert_eq!(options.tensor.dtype(), Some(DType::F16));
            /// ```
            #[must_use]
            pub fn tensor(mut self, tensor: impl Into<$crate::tensor::Options>) -> Self {
                self.tensor = tensor.into();
                self
            }
        }

        impl From<()> for $name {
            fn from((): ()) -> Self {
                Self::default()
            }
        }

        impl From<$crate::dtype::DType> for $name {
            fn from(dtype: $crate::dtype::DType) -> Self {
                Self::default().tensor(dtype)
            }
        }

        impl From<&$crate::tensor::Device> for $name {
            fn from(device: &$crate::tensor::Device) -> Self {
                Self::default().tensor(device)
            }
        }

        impl From<($crate::dtype::DType, &$crate::tensor::Device)> for $name {
            fn from(both: ($crate::dtype::DType, &$crate::tensor::Device)) -> Self {
                Self::default().tensor(both)
            }
        }
    };
}
pub(super) use options;

/// Declares an options struct of a function: as [`options`], without dtype and device; fields that cannot be
/// compared have examples of their own.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr $(=> $example:expr)?,)* }) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            $(
                $(#[$field_doc])*
                $(
                    ///
                    /// ```
                    /// use calor::nn::{*, functional::*, utils::*};
                    #[doc = $crate::nn::options::setter!($name $field $example)]
                    /// ```
                )?
                #[must_use]
                pub fn $field(mut self, $field: impl Into<$ty>) -> Self {
                    self.$field = $field.into();
                    self
                }
            )*
        }

        impl From<()> for $name {
            fn from((): ()) -> Self {
                Self::default()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}
pub(super) use settings;
