//! Python's pickle format, protocols 0 to 5, as plain data: what a file would have called is written down, never run.
//!
//! The instructions are those of CPython's `pickletools`.

use crate::error::{Error, ErrorKind, Result, bail};
use std::collections::HashMap;

/// Number of a node.
pub(super) type Id = usize;

/// One value; parts are numbers of other nodes, so that shared and even circular values are as small as the file.
#[derive(Debug, Clone)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    /// Lists and sets.
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function by its full name.
    Global(String),
    /// What a class or function would have made of arguments, and what was put into it then.
    Call {
        function: Id,
        arguments: Id,
        items: Vec<Id>,
        entries: Vec<(Id, Id)>,
    },
    /// Something that lies outside the pickle.
    Persistent(Id),
    /// What has no place here, by what it is.
    Unknown(&'static str),
}

/// The values of a pickle.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    pub(super) root: Id,
}

impl Graph {
    pub(super) fn node(&self, id: Id) -> &Node {
        // ids are made with their nodes
        self.nodes.get(id).unwrap_or(&Node::Unknown("nothing"))
    }

    /// The descriptions of what lies outside the pickle.
    pub(super) fn outside(&self) -> impl Iterator<Item = Id> {
        self.nodes.iter().filter_map(|node| if let Node::Persistent(id) = node { Some(*id) } else { None })
    }

    /// The parts of a tuple or list.
    pub(super) fn parts(&self, id: Id) -> &[Id] {
        match self.node(id) {
            Node::Tuple(parts) | Node::List(parts) => parts,
            _ => &[],
        }
    }

    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A size or an index.
    pub(super) fn count(&self, id: Id) -> Option<usize> {
        match self.node(id) {
            Node::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    pub(super) fn global(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Global(name) => Some(name),
            _ => None,
        }
    }
}

struct Machine<'a> {
    op: &'static str,
    rest: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// The stacks below the marks.
    below: Vec<Vec<Id>>,
    memo: HashMap<usize, Id>,
    /// Bytes that names put together from texts may still take.
    names: usize,
}

/// Reads one pickle from the start of `bytes`.
pub(super) fn read(op: &'static str, bytes: &[u8]) -> Result<Graph> {
    read_from(op, &mut { bytes })
}

/// Reads one pickle from the start of `bytes`, which go on behind it then.
pub(super) fn read_from(op: &'static str, bytes: &mut &[u8]) -> Result<Graph> {
    let names = bytes.len().saturating_mul(8).saturating_add(1 << 16);
    let (nodes, stack, below, memo) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
    let mut machine = Machine { op, rest: bytes, nodes, stack, below, memo, names };
    loop {
        let [code] = machine.take_array()?;
        if code == b'.' {
            let root = machine.pop()?;
            *bytes = machine.rest;
            return Ok(Graph { nodes: machine.nodes, root });
        }
        machine.step(code)?;
    }
}

impl<'a> Machine<'a> {
    fn broken(&self, what: &str) -> Error {
        Error::new(ErrorKind::Io, self.op, format!("broken pickle: {what}"))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.broken("it is cut off"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.broken("it is cut off"))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<usize> {
        Ok(self.take_array::<1>()?[0].into())
    }

    fn word(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.take_array()?) as usize)
    }

    fn long_word(&mut self) -> Result<usize> {
        let n = u64::from_le_bytes(self.take_array()?);
        usize::try_from(n).map_err(|_| self.broken("a length beyond memory"))
    }

    fn line(&mut self) -> Result<&'a str> {
        let end = self.rest.iter().position(|&b| b == b'\n').ok_or_else(|| self.broken("it is cut off"))?;
        let line = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| self.broken("a line is no text"))
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        let line = self.line()?;
        line.trim_end_matches('L').parse().map_err(|_| self.broken("a line is no number"))
    }

    fn utf8(&mut self, length: usize) -> Result<()> {
        // lone surrogates, which Python's strings may hold, become replacement characters
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Node::Text(text))
    }

    fn raw(&mut self, length: usize) -> Result<()> {
        let bytes = self.take(length)?.to_vec();
        self.push(Node::Bytes(bytes))
    }

    fn push(&mut self, node: Node) -> Result<()> {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        self.stack.pop().ok_or_else(|| self.broken("a value is missing"))
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().ok_or_else(|| self.broken("a value is missing"))
    }

    /// What was pushed since the last mark.
    fn marked(&mut self) -> Result<Vec<Id>> {
        let below = self.below.pop().ok_or_else(|| self.broken("a mark is missing"))?;
        Ok(std::mem::replace(&mut self.stack, below))
    }

    fn pairs(&self, flat: &[Id]) -> Result<Vec<(Id, Id)>> {
        let (pairs, rest) = flat.as_chunks::<2>();
        if rest.is_empty() {
            Ok(pairs.iter().map(|&[k, v]| (k, v)).collect())
        } else {
            Err(self.broken("a key without a value"))
        }
    }

    fn tuple(&mut self, count: usize) -> Result<()> {
        let start = self.stack.len().checked_sub(count).ok_or_else(|| self.broken("a value is missing"))?;
        let parts = self.stack.split_off(start);
        self.push(Node::Tuple(parts))
    }

    /// Puts values into the list, set or object on top.
    fn append(&mut self, more: Vec<Id>) -> Result<()> {
        let top = self.top()?;
        match self.nodes.get_mut(top) {
            Some(Node::List(items) | Node::Call { items, .. }) => items.extend(more),
            _ => return Err(self.broken("values for what is no list")),
        }
        Ok(())
    }

    /// Puts entries into the dict or object on top.
    fn enter(&mut self, more: &[Id]) -> Result<()> {
        let pairs = self.pairs(more)?;
        let top = self.top()?;
        match self.nodes.get_mut(top) {
            Some(Node::Dict(entries) | Node::Call { entries, .. }) => entries.extend(pairs),
            _ => return Err(self.broken("entries for what is no dict")),
        }
        Ok(())
    }

    fn call(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        self.push(Node::Call { function, arguments, items: Vec::new(), entries: Vec::new() })
    }

    fn remember(&mut self, number: usize) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(number, top);
        Ok(())
    }

    fn recall(&mut self, number: usize) -> Result<()> {
        let id = self.memo.get(&number).copied().ok_or_else(|| self.broken("a number that nothing has"))?;
        self.stack.push(id);
        Ok(())
    }

    fn integer(&mut self, length: usize) -> Result<()> {
        let bytes = self.take(length)?;
        if bytes.len() > 8 {
            return self.push(Node::Unknown("an integer of more than 64 bits"));
        }
        // little-endian two's complement of any length
        let sign = bytes.last().map_or(0, |b| if b & 0x80 == 0 { 0 } else { 0xff });
        let mut whole = [sign; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(whole)))
    }

    fn step(&mut self, code: u8) -> Result<()> {
        match code {
            // protocol and frame only help readers of streams
            0x80 => self.byte().map(drop),
            0x95 => self.long_word().map(drop),
            b'(' => {
                let above = std::mem::take(&mut self.stack);
                self.below.push(above);
                Ok(())
            }
            b'0' if self.stack.is_empty() => self.marked().map(drop),
            b'0' => self.pop().map(drop),
            b'1' => self.marked().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'I' => match self.line()? {
                "00" => self.push(Node::Bool(false)),
                "01" => self.push(Node::Bool(true)),
                line => {
                    let n = line.parse().map_err(|_| self.broken("a line is no number"))?;
                    self.push(Node::Int(n))
                }
            },
            b'L' => {
                let n = self.number()?;
                self.push(Node::Int(n))
            }
            b'J' => {
                let n = i32::from_le_bytes(self.take_array()?);
                self.push(Node::Int(n.into()))
            }
            b'K' => {
                let n = self.byte()?;
                self.push(Node::Int(n as i64))
            }
            b'M' => {
                let n = u16::from_le_bytes(self.take_array()?);
                self.push(Node::Int(n.into()))
            }
            0x8a => {
                let length = self.byte()?;
                self.integer(length)
            }
            0x8b => {
                let length = self.word()?;
                self.integer(length)
            }
            b'F' => {
                let x = self.number()?;
                self.push(Node::Float(x))
            }
            b'G' => {
                let x = f64::from_be_bytes(self.take_array()?);
                self.push(Node::Float(x))
            }
            b'S' => {
                let line = self.line()?.trim();
                let inner = ['\'', '"'].iter().find_map(|&q| line.strip_prefix(q)?.strip_suffix(q));
                let text = inner.ok_or_else(|| self.broken("a text without quotes"))?.to_string();
                self.push(Node::Text(text))
            }
            b'V' => {
                let text = self.line()?.to_string();
                self.push(Node::Text(text))
            }
            b'U' | 0x8c => {
                let length = self.byte()?;
                self.utf8(length)
            }
            b'T' | b'X' => {
                let length = self.word()?;
                self.utf8(length)
            }
            0x8d => {
                let length = self.long_word()?;
                self.utf8(length)
            }
            b'C' => {
                let length = self.byte()?;
                self.raw(length)
            }
            b'B' => {
                let length = self.word()?;
                self.raw(length)
            }
            0x8e | 0x96 => {
                let length = self.long_word()?;
                self.raw(length)
            }
            b']' | 0x8f => self.push(Node::List(Vec::new())),
            b'l' | 0x91 => {
                let items = self.marked()?;
                self.push(Node::List(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])
            }
            b'e' | 0x90 => {
                let items = self.marked()?;
                self.append(items)
            }
            b')' => self.tuple(0),
            0x85 => self.tuple(1),
            0x86 => self.tuple(2),
            0x87 => self.tuple(3),
            b't' => {
                let parts = self.marked()?;
                self.push(Node::Tuple(parts))
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let flat = self.marked()?;
                let entries = self.pairs(&flat)?;
                self.push(Node::Dict(entries))
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.enter(&[key, value])
            }
            b'u' => {
                let flat = self.marked()?;
                self.enter(&flat)
            }
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                self.push(Node::Global(name))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match self.nodes.get(id) {
                    Some(Node::Text(text)) => Ok(text.as_str()),
                    _ => Err(self.broken("a name that is no text")),
                };
                let (module, name) = (text(module)?, text(name)?);
                // a long text may stand in the file once and be part of any number of names
                let left = self.names.checked_sub(module.len() + name.len() + 1);
                let left = left.ok_or_else(|| self.broken("names are repeated too often"))?;
                let name = format!("{module}.{name}");
                self.names = left;
                self.push(Node::Global(name))
            }
            b'R' | 0x81 => self.call(),
            0x92 => {
                self.pop()?;
                self.call()
            }
            // an object's attributes; those of the classes that matter here are hooks and versions
            b'b' => self.pop().map(drop),
            b'Q' => {
                let id = self.pop()?;
                self.push(Node::Persistent(id))
            }
            b'p' => {
                let n = self.number()?;
                self.remember(n)
            }
            b'q' => {
                let n = self.byte()?;
                self.remember(n)
            }
            b'r' => {
                let n = self.word()?;
                self.remember(n)
            }
            0x94 => self.remember(self.memo.len()),
            b'g' => {
                let n = self.number()?;
                self.recall(n)
            }
            b'h' => {
                let n = self.byte()?;
                self.recall(n)
            }
            b'j' => {
                let n = self.word()?;
                self.recall(n)
            }
            other => bail!(Io, self.op, "broken pickle: instruction {other:#04x} is not supported"),
        }
    }
}

/// Writes a pickle of protocol 2.
pub(super) struct Pickler {
    pub(super) out: Vec<u8>,
}

impl Pickler {
    pub(super) fn new() -> Self {
        Self { out: vec![0x80, 2] }
    }

    pub(super) fn code(&mut self, code: u8) {
        self.out.push(code);
    }

    /// A class or function.
    pub(super) fn global(&mut self, module: &str, name: &str) {
        self.out.extend(format!("c{module}\n{name}\n").bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.code(if value { 0x88 } else { 0x89 });
    }

    pub(super) fn int(&mut self, value: i64) {
        if let Ok(small) = u8::try_from(value) {
            self.out.extend([b'K', small]);
        } else if let Ok(word) = i32::try_from(value) {
            self.code(b'J');
            self.out.extend(word.to_le_bytes());
        } else {
            self.out.extend([0x8a, 8]);
            self.out.extend(value.to_le_bytes());
        }
    }

    pub(super) fn float(&mut self, value: f64) {
        self.code(b'G');
        self.out.extend(value.to_be_bytes());
    }

    /// Refused above 4 GiB.
    pub(super) fn text(&mut self, text: &str) -> Result<()> {
        let Ok(length) = u32::try_from(text.len()) else {
            bail!(Value, "save_pt", "a text of {} bytes is too long", text.len());
        };
        self.code(b'X');
        self.out.extend(length.to_le_bytes());
        self.out.extend(text.bytes());
        Ok(())
    }

    /// Bytes as Python writes them in protocol 2: a text of their values and a call that turns it back.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.global("_codecs", "encode");
        self.text(&bytes.iter().map(|&b| char::from(b)).collect::<String>())?;
        self.text("latin1")?;
        self.out.extend([0x86, b'R']);
        Ok(())
    }

    /// A tuple of sizes or strides.
    pub(super) fn counts(&mut self, counts: impl IntoIterator<Item = usize>) {
        self.code(b'(');
        counts.into_iter().for_each(|n| self.int(n as i64));
        self.code(b't');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn instructions_of_all_protocols() -> Result<()> {
        let root = |bytes: &[u8]| read("test", bytes).map(|g| g.node(g.root).clone());
        for (bytes, want) in [
            (&b"I01\n."[..], "Bool(true)"),
            (b"I-7\n.", "Int(-7)"),
            (b"L12L\n.", "Int(12)"),
            (b"F1.5\n.", "Float(1.5)"),
            (b"S'ab'\n.", "Text(\"ab\")"),
            (b"Vab\n.", "Text(\"ab\")"),
            (b"K\xff.", "Int(255)"),
            (b"M\x01\x02.", "Int(513)"),
            (b"J\xfe\xff\xff\xff.", "Int(-2)"),
            (b"\x8a\x00.", "Int(0)"),
            (b"\x8a\x02\x00\xff.", "Int(-256)"),
            (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.", "Unknown(\"an integer of more than 64 bits\")"),
            (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", "Float(1.5)"),
            (b"\x8c\x02ab.", "Text(\"ab\")"),
            (b"C\x01\x07.", "Bytes([7])"),
            (b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00N.", "None"),
            (b"cos\nsystem\n.", "Global(\"os.system\")"),
            (b"\x8c\x02os\x8c\x06system\x93.", "Global(\"os.system\")"),
            (b"(K\x01K\x02t.", "Tuple([0, 1])"),
            (b"](NNe.", "List([1, 2])"),
            (b"}(K\x01Nu.", "Dict([(1, 2)])"),
            (b"K\x01(NN10.", "broken"),
            (b"K\x01(NN1.", "Int(1)"),
            (b"K\x01\x94h\x00.", "Int(1)"),
        ] {
            let got = root(bytes).map_or_else(|_| "broken".into(), |node| format!("{node:?}"));
            assert_eq!(got, want, "{bytes:?}");
        }
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bytes in [
            &b""[..],
            b".",
            b"t.",
            b"K",
            b"Na.",
            b"]a.",
            b"N(Ne.",
            b"}(Nu.",
            b"}Ns.",
            b"h\x07.",
            b"R.",
            b"\x93.",
            b"NN\x93.",
            b"X\xff\xff\xff\xff.",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"\x8b\xff\xff\xff\xff.",
            b"Ix\n.",
            b"I1",
            b"S'a\n.",
            b"\x82\x01.",
            b"\xff.",
        ] {
            let e = read("test", bytes).map(drop).expect_err("nonsense");
            assert_eq!((e.kind(), e.op()), (ErrorKind::Io, "test"), "{bytes:?}: {e}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_values_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(graph) = read("test", &bytes) {
                prop_assert!(graph.root < graph.nodes.len());
            }
        }
    }
}
