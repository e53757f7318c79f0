//! PyTorch's second names for elementwise operations: a row each.

use crate::error::Result;
use crate::ops::arg::Arg;
use crate::tensor::Tensor;

/// Rows of functions of one tensor, then of functions with an operand: the name and the one it stands for.
macro_rules! aliases {
    (unary { $($name:ident $inplace:ident = $of:ident $of_inplace:ident;)* }
     binary { $($bname:ident $binplace:ident = $bof:ident $bof_inplace:ident;)* }) => {
        impl Tensor {
            $(
                #[doc = concat!(
                    "[`Tensor::", stringify!($of), "`].\n\n```\n\
                    let x = calor::Tensor::new([0.5f32, 1.0], ())?;\n\
                    assert_eq!(x.", stringify!($name), "()?.read_bytes()?, x.", stringify!($of), "()?.read_bytes()?);\n\
                    # Ok::<(), calor::Error>(())\n```"
                )]
                pub fn $name(&self) -> Result<Tensor> {
                    self.$of()
                }

                #[doc = concat!(
                    "[`Tensor::", stringify!($of_inplace), "`].\n\n```\n\
                    let x = calor::Tensor::new([0.5f32, 1.0], ())?;\n\
                    let y = x.", stringify!($name), "()?;\n\
                    assert_eq!(x.", stringify!($inplace), "()?.read_bytes()?, y.read_bytes()?);\n\
                    # Ok::<(), calor::Error>(())\n```"
                )]
                pub fn $inplace(&self) -> Result<Tensor> {
                    self.$of_inplace()
                }
            )*
            $(
                #[doc = concat!(
                    "[`Tensor::", stringify!($bof), "`].\n\n```\n\
                    let x = calor::Tensor::new([0.5f32, 2.0], ())?;\n\
                    assert_eq!(x.", stringify!($bname), "(2)?.read_bytes()?, x.", stringify!($bof), "(2)?.read_bytes()?);\n\
                    # Ok::<(), calor::Error>(())\n```"
                )]
                pub fn $bname(&self, other: impl Into<Arg>) -> Result<Tensor> {
                    self.$bof(other)
                }

                #[doc = concat!(
                    "[`Tensor::", stringify!($bof_inplace), "`].\n\n```\n\
                    let x = calor::Tensor::new([0.5f32, 2.0], ())?;\n\
                    let y = x.", stringify!($bname), "(2)?.type_as(&x)?;\n\
                    assert_eq!(x.", stringify!($binplace), "(2)?.read_bytes()?, y.read_bytes()?);\n\
                    # Ok::<(), calor::Error>(())\n```"
                )]
                pub fn $binplace(&self, other: impl Into<Arg>) -> Result<Tensor> {
                    self.$bof_inplace(other)
                }
            )*
        }

        #[cfg(test)]
        mod tests {
            use crate::{Result, Tensor};

            /// Every name gives what the one it stands for gives, in place too.
            #[test]
            fn second_names() -> Result<()> {
                let x = Tensor::new([1.25f32, 1.0, -0.5], ())?;
                let y = Tensor::new([0.5f32, 1.0, 2.0], ())?;
                let same = |name: &str, a: &Tensor, b: &Tensor| -> Result<()> {
                    assert_eq!(a.dtype(), b.dtype(), "{name}");
                    assert_eq!(a.read_bytes()?, b.read_bytes()?, "{name}");
                    Ok(())
                };
                $(
                    same(stringify!($name), &x.$name()?, &x.$of()?)?;
                    same(stringify!($inplace), &x.try_clone()?.$inplace()?, &x.try_clone()?.$of_inplace()?)?;
                )*
                $(
                    same(stringify!($bname), &x.$bname(&y)?, &x.$bof(&y)?)?;
                    same(stringify!($binplace), &x.try_clone()?.$binplace(&y)?, &x.try_clone()?.$bof_inplace(&y)?)?;
                )*
                Ok(())
            }
        }
    };
}

aliases! {
    unary {
        absolute absolute_ = abs abs_;
        arccos arccos_ = acos acos_;
        arccosh arccosh_ = acosh acosh_;
        arcsin arcsin_ = asin asin_;
        arcsinh arcsinh_ = asinh asinh_;
        arctan arctan_ = atan atan_;
        arctanh arctanh_ = atanh atanh_;
        fix fix_ = trunc trunc_;
        negative negative_ = neg neg_;
    }
    binary {
        arctan2 arctan2_ = atan2 atan2_;
        divide divide_ = div div_;
        greater greater_ = gt gt_;
        greater_equal greater_equal_ = ge ge_;
        less less_ = lt lt_;
        less_equal less_equal_ = le le_;
        multiply multiply_ = mul mul_;
        not_equal not_equal_ = ne ne_;
        subtract subtract_ = sub sub_;
    }
}

impl Tensor {
    /// [`Tensor::clamp`].
    ///
    /// ```
    /// assert_eq!(calor::Tensor::new([1, 5, 9], ())?.clip(2, 6)?.to_vec::<i32>()?, [2, 5, 6]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn clip(&self, min: impl Into<Arg>, max: impl Into<Arg>) -> Result<Tensor> {
        self.clamp(min, max)
    }

    /// [`Tensor::clamp_`].
    ///
    /// ```
    /// let x = calor::Tensor::new([1, 5, 9], ())?;
    /// assert_eq!(x.clip_(2, 6)?.to_vec::<i32>()?, [2, 5, 6]);
    /// # Ok::<(), calor::Error>(())
    /// ```
    pub fn clip_(&self, min: impl Into<Arg>, max: impl Into<Arg>) -> Result<Tensor> {
        self.clamp_(min, max)
    }
}
