//! The pickle of a state dictionary, read without being run.
//!
//! Python's pickle is a stack machine; its instructions are described in CPython's `pickletools`. Here are
//! those that `torch.save` writes for a dictionary of tensors. Values live in one list and refer to each other
//! by number, so sharing costs nothing, nesting costs no stack, and the memory is linear in the program.

use crate::FormatError;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What is wrong with a program.
#[derive(Debug)]
pub(super) enum Problem {
    /// It is damaged.
    Damaged(String),
    /// It asks for something that is not done.
    Refused(String),
}

impl Problem {
    pub fn at(self, file: &Path) -> FormatError {
        match self {
            Problem::Damaged(message) => {
                FormatError::malformed(file, format!("not a whole PyTorch checkpoint: {message}"))
            }
            Problem::Refused(message) => FormatError::unsupported(file, message),
        }
    }
}

fn damaged<T>(message: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Damaged(message.into()))
}

/// Where a tensor's numbers are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// Python's name of its type, module and name with a space between, such as `torch FloatStorage`.
    pub kind: String,
    /// Name of the archive's entry.
    pub key: String,
}

/// A tensor as a program describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorRecord {
    pub storage: Storage,
    /// First number within the storage.
    pub offset: u64,
    pub dims: Vec<usize>,
    pub strides: Vec<u64>,
}

impl TensorRecord {
    /// Whether its numbers lie one after another, last dimension first.
    pub fn is_row_major(&self) -> bool {
        let mut expected = 1u64;
        self.dims.len() == self.strides.len()
            && self
                .dims
                .iter()
                .zip(&self.strides)
                .rev()
                .all(|(dim, stride)| {
                    // The stride of a single element moves nothing.
                    let fits = *dim == 1 || *stride == expected;
                    expected = expected.saturating_mul(*dim as u64);
                    fits
                })
    }
}

/// Most bytes of a storage's key and type together, which every tensor of it repeats.
const MAX_NAMES: usize = 256;

/// Number of a value in the list of values.
type Id = usize;

#[derive(Clone, Debug)]
enum Value {
    /// None, a truth value, a fraction: nothing that a tensor needs.
    Other,
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List,
    Dict(Vec<(Id, Id)>),
    Global(String),
    Storage(Storage),
    Tensor(Box<TensorRecord>),
}

/// The tensors of a program that describes a dictionary of them, in its order.
pub(super) fn state_dict(program: &[u8]) -> Result<Vec<(String, TensorRecord)>, Problem> {
    let mut machine = Machine {
        rest: program,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let root = machine.run()?;
    let Value::Dict(pairs) = &machine.values[root] else {
        return Err(Problem::Refused(
            "a PyTorch file that holds no dictionary of tensors".into(),
        ));
    };
    let mut tensors = Vec::new();
    let mut seen = HashSet::new();
    for (key, value) in pairs {
        match (&machine.values[*key], &machine.values[*value]) {
            (Value::Text(name), Value::Tensor(record)) => {
                // Before it is copied: a long name may be recalled any number of times.
                if !seen.insert(name) {
                    return damaged("an entry of the dictionary is there twice");
                }
                tensors.push((name.clone(), (**record).clone()));
            }
            (Value::Text(name), _) => {
                return Err(Problem::Refused(format!("entry `{name}` is no tensor")));
            }
            _ => return damaged("a key of the dictionary is no text"),
        }
    }
    Ok(tensors)
}

struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Problem> {
        match self.rest.split_at_checked(n) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => damaged("its pickle ends early"),
        }
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, Problem> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn line(&mut self) -> Result<String, Problem> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let Some(end) = end else {
            return damaged("its pickle ends early");
        };
        let text = self.take(end)?;
        self.take(1)?;
        utf8(text)
    }

    fn push(&mut self, value: Value) {
        self.values.push(value);
        self.stack.push(self.values.len() - 1);
    }

    fn pop(&mut self) -> Result<Id, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(id) if self.stack.len() >= floor => Ok(id),
            _ => damaged("its pickle takes more than it put"),
        }
    }

    /// What was pushed since the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>, Problem> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => damaged("its pickle has no mark"),
        }
    }

    fn pop_tuple(&mut self, n: usize) -> Result<(), Problem> {
        let mut items = Vec::with_capacity(n);
        for _ in 0..n {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Result<(), Problem> {
        match self.stack.last() {
            Some(id) => {
                self.memo.insert(key, *id);
                Ok(())
            }
            None => damaged("its pickle remembers nothing"),
        }
    }

    fn recall(&mut self, key: u32) -> Result<(), Problem> {
        match self.memo.get(&key) {
            Some(id) => {
                self.stack.push(*id);
                Ok(())
            }
            None => damaged("its pickle recalls what it did not remember"),
        }
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), Problem> {
        let Some(dict) = self.stack.last().copied() else {
            return damaged("its pickle fills nothing");
        };
        match &mut self.values[dict] {
            Value::Dict(pairs) => {
                pairs.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            _ => damaged("its pickle fills what is no dictionary"),
        }
    }

    /// Interprets the program; its result is what is left.
    fn run(&mut self) -> Result<Id, Problem> {
        loop {
            let op = self.byte()?;
            match op {
                // PROTO, FRAME
                0x80 => drop(self.byte()?),
                0x95 => drop(self.take(8)?),
                // STOP
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                // NONE, NEWTRUE, NEWFALSE
                b'N' | 0x88 | 0x89 => self.push(Value::Other),
                // BINFLOAT
                b'G' => {
                    self.take(8)?;
                    self.push(Value::Other);
                }
                // BININT, BININT1, BININT2, LONG1
                b'J' => {
                    let number = self.u32()? as i32;
                    self.push(Value::Int(number.into()));
                }
                b'K' => {
                    let number = self.byte()?;
                    self.push(Value::Int(number.into()));
                }
                b'M' => {
                    let b = self.take(2)?;
                    self.push(Value::Int(u16::from_le_bytes([b[0], b[1]]).into()));
                }
                0x8a => {
                    let n = self.byte()?;
                    let bytes = self.take(n.into())?;
                    self.push(long(bytes)?);
                }
                // BINUNICODE, SHORT_BINUNICODE
                b'X' => {
                    let n = self.u32()? as usize;
                    let text = utf8(self.take(n)?)?;
                    self.push(Value::Text(text));
                }
                0x8c => {
                    let n = self.byte()?;
                    let text = utf8(self.take(n.into())?)?;
                    self.push(Value::Text(text));
                }
                // EMPTY_TUPLE, TUPLE, TUPLE1, TUPLE2, TUPLE3
                b')' => self.push(Value::Tuple(Vec::new())),
                b't' => {
                    let items = self.pop_mark()?;
                    self.push(Value::Tuple(items));
                }
                0x85..=0x87 => self.pop_tuple(usize::from(op - 0x84))?,
                // EMPTY_LIST, APPEND, APPENDS: lists hold nothing that is needed.
                b']' => self.push(Value::List),
                b'a' => drop(self.pop()?),
                b'e' => drop(self.pop_mark()?),
                // EMPTY_DICT, SETITEM, SETITEMS
                b'}' => self.push(Value::Dict(Vec::new())),
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set_items(&[key, value])?;
                }
                b'u' => {
                    let items = self.pop_mark()?;
                    if items.len() % 2 == 1 {
                        return damaged("its pickle has a key without a value");
                    }
                    self.set_items(&items)?;
                }
                // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
                b'q' => {
                    let key = self.byte()?;
                    self.remember(key.into())?;
                }
                b'r' => {
                    let key = self.u32()?;
                    self.remember(key)?;
                }
                0x94 => self.remember(self.memo.len() as u32)?,
                b'h' => {
                    let key = self.byte()?;
                    self.recall(key.into())?;
                }
                b'j' => {
                    let key = self.u32()?;
                    self.recall(key)?;
                }
                // GLOBAL, STACK_GLOBAL
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Value::Global(format!("{module} {name}")));
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    match (&self.values[module], &self.values[name]) {
                        (Value::Text(module), Value::Text(name)) => {
                            let global = format!("{module} {name}");
                            self.push(Value::Global(global));
                        }
                        _ => return damaged("its pickle names no class"),
                    }
                }
                // BINPERSID, REDUCE, BUILD
                b'Q' => self.persistent()?,
                b'R' => self.reduce()?,
                b'b' => {
                    // What else a dictionary carries (`_metadata`) is not needed.
                    self.pop()?;
                    let target = self.stack.last().map(|id| &self.values[*id]);
                    if !matches!(target, Some(Value::Dict(_))) {
                        return Err(Problem::Refused(
                            "its pickle sets an object's state, which is never done".into(),
                        ));
                    }
                }
                other => {
                    return Err(Problem::Refused(format!(
                        "its pickle has the instruction {:?} (0x{other:02x}), which no dictionary of tensors needs",
                        char::from(other)
                    )));
                }
            }
        }
    }

    /// A reference to a storage: `("storage", type, key, location, number of elements)`.
    fn persistent(&mut self) -> Result<(), Problem> {
        let id = self.pop()?;
        let Value::Tuple(items) = &self.values[id] else {
            return damaged("its pickle refers to something other than a storage");
        };
        let items: Vec<&Value> = items.iter().map(|id| &self.values[*id]).collect();
        match items[..] {
            [
                Value::Text(tag),
                Value::Global(kind),
                Value::Text(key),
                Value::Text(_),
                Value::Int(_),
            ] if tag == "storage" && key.len() + kind.len() <= MAX_NAMES => {
                let (kind, key) = (kind.clone(), key.clone());
                self.push(Value::Storage(Storage { kind, key }));
                Ok(())
            }
            _ => damaged("its pickle refers to something other than a storage"),
        }
    }

    /// A call, of which three are understood and none is made.
    fn reduce(&mut self) -> Result<(), Problem> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let (Value::Tuple(arguments), Value::Global(callable)) =
            (&self.values[arguments], &self.values[callable])
        else {
            return damaged("its pickle calls what is no function");
        };
        let result = match callable.as_str() {
            "collections OrderedDict" if arguments.is_empty() => Value::Dict(Vec::new()),
            "torch._utils _rebuild_tensor_v2" => {
                let arguments: Vec<&Value> = arguments.iter().map(|id| &self.values[*id]).collect();
                let [
                    Value::Storage(storage),
                    Value::Int(offset),
                    Value::Tuple(dims),
                    Value::Tuple(strides),
                    ..,
                ] = arguments[..]
                else {
                    return damaged("a tensor is described by something else");
                };
                let record = TensorRecord {
                    storage: storage.clone(),
                    offset: whole(*offset)?,
                    dims: self.numbers(dims)?,
                    strides: self.numbers(strides)?,
                };
                Value::Tensor(Box::new(record))
            }
            "torch._utils _rebuild_parameter" => match arguments.first() {
                Some(tensor) if matches!(self.values[*tensor], Value::Tensor(_)) => {
                    let tensor = *tensor;
                    self.stack.push(tensor);
                    return Ok(());
                }
                _ => return damaged("a parameter holds no tensor"),
            },
            other => {
                return Err(Problem::Refused(format!(
                    "its pickle asks to call `{}`; no code of a checkpoint is run\n  hint: load it where you trust it, and save its state_dict() as safetensors",
                    other.replace(' ', ".")
                )));
            }
        };
        self.push(result);
        Ok(())
    }

    fn numbers<T: TryFrom<i64>>(&self, ids: &[Id]) -> Result<Vec<T>, Problem> {
        if ids.len() > 8 {
            return damaged("a tensor has more than eight dimensions");
        }
        let number = |id: &Id| match self.values[*id] {
            Value::Int(number) => whole(number),
            _ => damaged("a tensor's shape is no number"),
        };
        ids.iter().map(number).collect()
    }
}

fn whole<T: TryFrom<i64>>(number: i64) -> Result<T, Problem> {
    T::try_from(number).or_else(|_| damaged(format!("a tensor has the extent {number}")))
}

fn utf8(bytes: &[u8]) -> Result<String, Problem> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => damaged("a text in its pickle is not UTF-8"),
    }
}

/// A whole number in two's complement, as many bytes as it needs.
fn long(bytes: &[u8]) -> Result<Value, Problem> {
    if bytes.len() > 8 {
        // PyTorch writes none so large in a dictionary of tensors.
        return damaged("a number in its pickle has more than 64 bits");
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    Ok(Value::Int(i64::from_le_bytes(all)))
}
