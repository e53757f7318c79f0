//! A tensor in host memory that only moves data: it tests the harness itself.

use crate::corpus::View;
use crate::host::HostTensor;
use crate::run::{Backend, Mode};
use std::cell::RefCell;
use std::rc::Rc;

/// A view of shared storage.
#[derive(Clone)]
pub struct Stand {
    pub storage: Rc<RefCell<HostTensor>>,
    pub view: View,
}

impl Backend for Stand {
    fn set_mode(_: Mode) {}

    fn upload(host: &HostTensor) -> Result<Self, String> {
        let mut strides = vec![1; host.shape.len()];
        for d in (1..strides.len()).rev() {
            strides[d - 1] = strides[d] * host.shape[d] as isize;
        }
        let view = View { shape: host.shape.clone(), strides, offset: 0 };
        Ok(Stand { storage: Rc::new(RefCell::new(host.clone())), view })
    }

    fn download(&self) -> Result<HostTensor, String> {
        self.storage.borrow().view(&self.view.shape, &self.view.strides, self.view.offset)
    }

    fn as_view(&self, view: &View) -> Result<Self, String> {
        Ok(Stand { storage: self.storage.clone(), view: view.clone() })
    }

    fn leaf(&self) -> Result<Self, String> {
        self.copy()
    }

    fn copy(&self) -> Result<Self, String> {
        Stand::upload(&self.download()?)
    }

    fn grad(_: &[(Self, Self)], _: &[Self], _: bool) -> Result<Vec<Option<Self>>, String> {
        Err("the stand-in has no gradients".to_owned())
    }

    fn shares_storage(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.storage, &other.storage)
    }
}
