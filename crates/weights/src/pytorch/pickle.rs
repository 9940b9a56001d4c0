//! The pickles of torch.save: a machine with a stack and a memo that builds dictionaries of tensors and calls nothing.

use std::collections::{HashMap, HashSet};

/// More than the values of any description; each costs some tens of bytes.
const MOST_VALUES: usize = 1 << 22;
const MOST_DIMENSIONS: usize = 16;
/// Of the key of a storage, which is a number.
const LONGEST_KEY: usize = 64;
/// Keys under which training scripts keep the weights, where they keep more.
const NESTED: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];

/// Why a pickle is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed(String),
    Unsupported(String),
    /// What it asks for by name.
    Code(String),
}

/// Elements in an entry of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) key: String,
    /// As safetensors names it.
    pub(super) dtype: &'static str,
}

/// A tensor over a storage, in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) storage: Storage,
    pub(super) first: u64,
    pub(super) shape: Vec<u64>,
    pub(super) strides: Vec<u64>,
}

/// The names that a pickle of tensors may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Global {
    OrderedDict,
    Size,
    Tensor,
    Parameter,
    Storage(&'static str),
}

impl Global {
    fn of(module: &str, name: &str) -> Result<Self, Fault> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch", "Size") => Self::Size,
            ("torch._utils", "_rebuild_tensor_v2") => Self::Tensor,
            ("torch._utils", "_rebuild_parameter") => Self::Parameter,
            ("torch", "DoubleStorage") => Self::Storage("F64"),
            ("torch", "FloatStorage") => Self::Storage("F32"),
            ("torch", "HalfStorage") => Self::Storage("F16"),
            ("torch", "BFloat16Storage") => Self::Storage("BF16"),
            ("torch", "LongStorage") => Self::Storage("I64"),
            ("torch", "IntStorage") => Self::Storage("I32"),
            ("torch", "ShortStorage") => Self::Storage("I16"),
            ("torch", "CharStorage") => Self::Storage("I8"),
            ("torch", "ByteStorage") => Self::Storage("U8"),
            ("torch", "BoolStorage") => Self::Storage("BOOL"),
            _ => return Err(Fault::Code(format!("{module}.{name}"))),
        })
    }
}

/// A value on the stack; what has parts lies in the heap, so that nesting costs no recursion.
#[derive(Clone, Copy, Debug)]
enum Value {
    None,
    Bool,
    Int(i64),
    Float,
    Global(Global),
    /// An index into the heap.
    Heap(u32),
}

#[derive(Debug)]
enum Object {
    Text(String),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// The key is a text in the heap.
    Storage {
        key: u32,
        dtype: &'static str,
    },
    Tensor {
        storage: u32,
        first: u64,
        shape: Vec<u64>,
        strides: Vec<u64>,
    },
}

/// The tensors of a checkpoint: those of its dictionary, or of the one that holds the weights among others.
pub(super) fn tensors(pickle: &[u8]) -> Result<Vec<Tensor>, Fault> {
    let mut machine =
        Machine { bytes: pickle, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), heap: Vec::new() };
    let root = machine.run()?;
    machine.state_dict(root)
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    heap: Vec<Object>,
}

impl<'a> Machine<'a> {
    fn broken<T>(&self, what: &str) -> Result<T, Fault> {
        Err(Fault::Malformed(format!("byte {}: {what}", self.at)))
    }

    fn run(&mut self) -> Result<Value, Fault> {
        loop {
            let op = self.take(1)?[0];
            if op == b'.' {
                return self.pop();
            }
            self.step(op)?;
            if self.stack.len() + self.heap.len() + self.memo.len() > MOST_VALUES {
                return self.broken("more values than any description of weights has");
            }
        }
    }

    /// One instruction, by its byte in `pickletools.py`.
    fn step(&mut self, op: u8) -> Result<(), Fault> {
        match op {
            0x80 => self.take(1).map(|_| ())?, // PROTO
            0x95 => self.take(8).map(|_| ())?, // FRAME
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool), // NEWTRUE, NEWFALSE
            b'G' => {
                self.take(8)?;
                self.stack.push(Value::Float);
            }
            b'K' | b'M' | b'J' | 0x8a => self.integer(op)?, // BININT1, BININT2, BININT, LONG1
            b'X' | 0x8c => self.text(op)?,                  // BINUNICODE, SHORT_BINUNICODE
            b'c' | 0x93 => self.global(op)?,                // GLOBAL, STACK_GLOBAL
            b'(' => self.marks.push(self.stack.len()),
            b')' => self.push(Object::Tuple(Vec::new())),
            b']' => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            0x85..=0x87 => {
                // TUPLE1 to TUPLE3
                let items = self.last(usize::from(op - 0x84))?;
                self.push(Object::Tuple(items));
            }
            b't' | b'l' => {
                let items = self.marked()?;
                self.push(if op == b't' { Object::Tuple(items) } else { Object::List(items) });
            }
            b'a' | b'e' => {
                let items = if op == b'a' { self.last(1)? } else { self.marked()? };
                self.append(items)?;
            }
            b's' | b'u' => {
                let items = if op == b's' { self.last(2)? } else { self.marked()? };
                self.set_items(&items)?;
            }
            b'q' | b'r' | 0x94 => {
                // BINPUT, LONG_BINPUT, MEMOIZE
                let index = if op == 0x94 { self.memo.len() as u32 } else { self.index(op == b'r')? };
                let Some(top) = self.stack.last() else { return self.broken("nothing to remember") };
                self.memo.insert(index, *top);
            }
            b'h' | b'j' => {
                // BINGET, LONG_BINGET
                let index = self.index(op == b'j')?;
                let Some(value) = self.memo.get(&index) else { return self.broken("it recalls what it never kept") };
                self.stack.push(*value);
            }
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            b'i' | b'o' | 0x81 | 0x92 => return Err(Fault::Code("an instance of a class (INST, OBJ, NEWOBJ)".into())),
            0x82..=0x84 => return Err(Fault::Code("a registered extension (EXT)".into())),
            other => {
                let what =
                    format!("byte {}: the instruction {other:#04x}, which no dictionary of tensors needs", self.at - 1);
                return Err(Fault::Unsupported(what));
            }
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let Some(taken) = self.bytes[self.at..].get(..count) else { return self.broken("the pickle ends here") };
        self.at += count;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn index(&mut self, long: bool) -> Result<u32, Fault> {
        if long { self.u32() } else { Ok(self.take(1)?[0].into()) }
    }

    fn pop(&mut self) -> Result<Value, Fault> {
        match self.stack.len() > self.marks.last().copied().unwrap_or(0) {
            true => Ok(self.stack.pop().unwrap_or(Value::None)),
            false => self.broken("nothing on the stack"),
        }
    }

    /// The last values above the last mark.
    fn last(&mut self, count: usize) -> Result<Vec<Value>, Fault> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count).filter(|at| *at >= bottom) {
            Some(at) => Ok(self.stack.split_off(at)),
            None => self.broken("too little on the stack"),
        }
    }

    /// All values above the last mark, which is taken away.
    fn marked(&mut self) -> Result<Vec<Value>, Fault> {
        let Some(mark) = self.marks.pop() else { return self.broken("no mark on the stack") };
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn push(&mut self, object: Object) {
        self.stack.push(Value::Heap(self.heap.len() as u32)); // MOST_VALUES is less
        self.heap.push(object);
    }

    fn object(&self, value: Value) -> Option<&Object> {
        if let Value::Heap(index) = value { self.heap.get(index as usize) } else { None }
    }

    fn str(&self, value: Value) -> Option<&str> {
        if let Some(Object::Text(text)) = self.object(value) { Some(text) } else { None }
    }

    fn items(&self, value: Value) -> Option<&[Value]> {
        if let Some(Object::Tuple(items)) = self.object(value) { Some(items) } else { None }
    }

    fn integer(&mut self, op: u8) -> Result<(), Fault> {
        let value = match op {
            b'K' => i64::from(self.take(1)?[0]),
            b'M' => {
                let bytes = self.take(2)?;
                i64::from(u16::from_le_bytes([bytes[0], bytes[1]]))
            }
            b'J' => i64::from(self.u32()?.cast_signed()),
            _ => {
                let length = usize::from(self.take(1)?[0]);
                let bytes = self.take(length)?;
                if length > 8 {
                    return self.broken("a number of more than 64 bits");
                }
                let filled = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                let mut wide = [filled; 8];
                wide[..length].copy_from_slice(bytes);
                i64::from_le_bytes(wide)
            }
        };
        self.stack.push(Value::Int(value));
        Ok(())
    }

    fn text(&mut self, op: u8) -> Result<(), Fault> {
        let length = if op == b'X' { self.u32()? as usize } else { usize::from(self.take(1)?[0]) };
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => {
                self.push(Object::Text(text.to_owned()));
                Ok(())
            }
            Err(_) => self.broken("a text that is not UTF-8"),
        }
    }

    fn global(&mut self, op: u8) -> Result<(), Fault> {
        let global = if op == b'c' {
            let (module, name) = (self.line()?, self.line()?);
            Global::of(module, name)?
        } else {
            let pair = self.last(2)?;
            match (self.str(pair[0]), self.str(pair[1])) {
                (Some(module), Some(name)) => Global::of(module, name)?,
                _ => return self.broken("a name that is no text"),
            }
        };
        self.stack.push(Value::Global(global));
        Ok(())
    }

    fn line(&mut self) -> Result<&'a str, Fault> {
        const LONGEST: usize = 256;
        let rest = &self.bytes[self.at..];
        let end = rest.iter().take(LONGEST).position(|b| *b == b'\n');
        let line = end.and_then(|end| std::str::from_utf8(&rest[..end]).ok());
        match line {
            Some(line) => {
                self.at += line.len() + 1;
                Ok(line)
            }
            None => self.broken("a name without an end"),
        }
    }

    fn append(&mut self, items: Vec<Value>) -> Result<(), Fault> {
        match self.stack.last() {
            Some(Value::Heap(index)) => match self.heap.get_mut(*index as usize) {
                Some(Object::List(list)) => list.extend(items),
                _ => return self.broken("it appends to what is no list"),
            },
            _ => return self.broken("it appends to what is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Value]) -> Result<(), Fault> {
        match self.stack.last() {
            Some(Value::Heap(index)) if items.len().is_multiple_of(2) => match self.heap.get_mut(*index as usize) {
                Some(Object::Dict(dict)) => dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
                _ => return self.broken("it sets keys of what is no dictionary"),
            },
            _ => return self.broken("it sets keys of what is no dictionary"),
        }
        Ok(())
    }

    /// BINPERSID of ("storage", its type, key, device, elements).
    fn persistent(&mut self) -> Result<(), Fault> {
        let id = self.pop()?;
        let storage = match self.items(id) {
            Some(&[kind, Value::Global(Global::Storage(dtype)), Value::Heap(key), _, _])
                if self.str(kind) == Some("storage")
                    && self.str(Value::Heap(key)).is_some_and(|key| key.len() <= LONGEST_KEY) =>
            {
                Object::Storage { key, dtype }
            }
            _ => return self.broken("a persistent id that is no storage"),
        };
        self.push(storage);
        Ok(())
    }

    /// The call of a known name.
    fn reduce(&mut self) -> Result<(), Fault> {
        let pair = self.last(2)?;
        let (Value::Global(global), Some(arguments)) = (pair[0], self.items(pair[1])) else {
            return Err(Fault::Code("the call of what is no name (REDUCE)".into()));
        };
        let made = match (global, arguments) {
            (Global::OrderedDict, []) => Object::Dict(Vec::new()),
            (Global::OrderedDict, [pairs]) => self.pairs(*pairs)?,
            (Global::Size, [sizes]) => match self.sizes(*sizes) {
                Some(_) => {
                    let same = *sizes;
                    self.stack.push(same);
                    return Ok(());
                }
                None => return self.broken("a size that is no tuple of numbers"),
            },
            (Global::Parameter, [tensor, ..]) if matches!(self.object(*tensor), Some(Object::Tensor { .. })) => {
                let same = *tensor;
                self.stack.push(same);
                return Ok(());
            }
            (Global::Tensor, [Value::Heap(storage), Value::Int(first), shape, strides, ..]) => {
                let (shape, strides) = (self.sizes(*shape), self.sizes(*strides));
                let is_storage = matches!(self.heap.get(*storage as usize), Some(Object::Storage { .. }));
                match (shape, strides, u64::try_from(*first)) {
                    (Some(shape), Some(strides), Ok(first)) if is_storage && shape.len() == strides.len() => {
                        Object::Tensor { storage: *storage, first, shape, strides }
                    }
                    _ => return self.broken("a tensor whose storage, shape or strides are none"),
                }
            }
            _ => {
                return self
                    .broken(&format!("{global:?} with {} other arguments than torch.save gives", arguments.len()));
            }
        };
        self.push(made);
        Ok(())
    }

    /// A dictionary of a list of pairs.
    fn pairs(&self, list: Value) -> Result<Object, Fault> {
        let Some(Object::List(list)) = self.object(list) else {
            return self.broken("an OrderedDict of what is no list");
        };
        let pair = |value: &Value| match self.object(*value) {
            Some(Object::Tuple(pair) | Object::List(pair)) if pair.len() == 2 => Some((pair[0], pair[1])),
            _ => None,
        };
        match list.iter().map(pair).collect() {
            Some(pairs) => Ok(Object::Dict(pairs)),
            None => self.broken("an OrderedDict of what are no pairs"),
        }
    }

    /// A tuple of a few numbers that are not negative.
    fn sizes(&self, value: Value) -> Option<Vec<u64>> {
        let items = self.items(value).filter(|items| items.len() <= MOST_DIMENSIONS)?;
        items.iter().map(|item| if let Value::Int(n) = item { u64::try_from(*n).ok() } else { None }).collect()
    }

    /// BUILD gives a dictionary of a module its attributes (`_metadata`), which say nothing of tensors.
    fn build(&mut self) -> Result<(), Fault> {
        self.pop()?;
        match self.stack.last().and_then(|value| self.object(*value)) {
            Some(Object::Dict(_)) => Ok(()),
            _ => Err(Fault::Code("attributes of what is no dictionary (BUILD)".into())),
        }
    }

    fn state_dict(&self, root: Value) -> Result<Vec<Tensor>, Fault> {
        let Some(Object::Dict(all)) = self.object(root) else {
            return Err(Fault::Unsupported("it holds no dictionary of tensors".into()));
        };
        let is_tensor = |value: &Value| matches!(self.object(*value), Some(Object::Tensor { .. }));
        let nested = NESTED.iter().find_map(|wanted| {
            let (_, value) = all.iter().find(|(key, _)| self.str(*key) == Some(wanted))?;
            if let Some(Object::Dict(dict)) = self.object(*value) { Some(dict) } else { None }
        });
        let dict = if all.iter().any(|(_, value)| is_tensor(value)) { all } else { nested.unwrap_or(all) };
        let (mut names, mut tensors) = (HashSet::new(), Vec::new());
        for (key, value) in dict {
            let Some(name) = self.str(*key) else {
                return Err(Fault::Malformed("a key of its dictionary is no text".into()));
            };
            let Some(Object::Tensor { storage, first, shape, strides }) = self.object(*value) else {
                return Err(Fault::Unsupported(format!("{name:?} is no tensor")));
            };
            if !names.insert(name) {
                return Err(Fault::Malformed(format!("two tensors are named {name:?}")));
            }
            let Some(Object::Storage { key, dtype }) = self.heap.get(*storage as usize) else { continue };
            let key = self.str(Value::Heap(*key)).unwrap_or_default().to_owned();
            let (name, shape, strides) = (name.to_owned(), shape.clone(), strides.clone());
            tensors.push(Tensor { name, storage: Storage { key, dtype }, first: *first, shape, strides });
        }
        Ok(tensors)
    }
}
