//! The compiler: linked instructions enter, machine code leaves: the bytes, where each function begins, and on request the
//! text of it. The code refers to nothing by address: it has no relocations and is the same in every run.

use std::ops::Range;

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{Function as Ir, InstBuilder, MemFlagsData, UserFuncName};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, control::ControlPlane};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

use super::flow::Flow;
use super::kinds::{Kinds, PacketFields, Windows};
use super::live::Live;
use super::state::offset;
use super::translate::{Function, Translator, function_signature, signature};
use crate::vm::op::Op;

/// What cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Cranelift does not know this machine.
    #[error("no compiler for this machine: {0}; the interpreter runs everywhere")]
    Host(String),
    /// Cranelift refused a function.
    #[error("function at instruction {insn} cannot be compiled: {what}; the interpreter runs it")]
    Function {
        /// Its first instruction.
        insn: usize,
        /// What Cranelift says.
        what: String,
    },
    /// Pages for the code.
    #[error("no memory for machine code: {0}")]
    Pages(rustix::io::Errno),
}

/// What is compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    /// Linked instructions: constants hold what they stand for.
    pub(crate) ops: &'a [Op],
    /// First instructions of its functions, the program's own first, in order.
    pub(crate) functions: &'a [u32],
    /// What the instructions cost.
    pub(crate) charges: &'a [u32],
    /// The instructions that they were made from, when they were rewritten.
    pub(crate) origins: Option<&'a [u32]>,
    /// Where the context keeps packet pointers.
    pub(crate) packet: PacketFields,
}

impl Text<'_> {
    /// The functions' instructions.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let ends = self.functions.iter().skip(1).copied().chain([self.ops.len() as u32]);
        self.functions.iter().zip(ends).map(|(&start, end)| start as usize..end as usize)
    }
}

/// Machine code, not yet anywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assembled {
    /// The stub first, then the functions.
    pub(crate) bytes: Vec<u8>,
    /// Where the functions begin.
    pub(crate) entries: Vec<usize>,
    /// Its text, if it was asked for.
    pub(crate) text: Option<String>,
}

/// Makes machine code for this host.
pub(super) struct Compiler {
    isa: OwnedTargetIsa,
    context: Context,
    builder: FunctionBuilderContext,
    /// The stub's code, once it is made.
    stub: Vec<u8>,
}

impl Compiler {
    /// A compiler for the machine that it runs on. It emits what is written: programs come optimised, Cranelift's own passes take
    /// as long as all else and gain nothing on them, and they would put the constants together that blinding takes apart.
    pub(super) fn new() -> Result<Compiler, CompileError> {
        let mut flags = settings::builder();
        let choices = [
            ("opt_level", "none"),
            ("enable_verifier", "false"),
            ("unwind_info", "false"),
            ("enable_probestack", "false"),
        ];
        for (name, value) in choices {
            flags.set(name, value).map_err(|error| CompileError::Host(error.to_string()))?;
        }
        let host = cranelift_native::builder().map_err(|error| CompileError::Host(error.to_owned()))?;
        let isa = host
            .finish(settings::Flags::new(flags))
            .map_err(|error| CompileError::Host(error.to_string()))?;
        Ok(Compiler {
            isa,
            context: Context::new(),
            builder: FunctionBuilderContext::new(),
            stub: Vec::new(),
        })
    }

    /// Compiles all functions.
    pub(crate) fn compile(&mut self, text: Text<'_>, readable: bool) -> Result<Assembled, CompileError> {
        let mut code = Assembled { text: readable.then(String::new), ..Assembled::default() };
        let mut windows = Windows::new();
        if self.stub.is_empty() || readable {
            self.start(0, signature(CallConv::PreserveAll, 3, 0));
            self.stub();
            self.finish(&mut code, 0, "resolve")?;
            self.stub.clone_from(&code.bytes);
        } else {
            code.bytes.clone_from(&self.stub);
        }
        for (index, range) in text.ranges().enumerate() {
            let flow = Flow::of(text.ops, range.clone());
            let kinds = Kinds::of(text.ops, range.clone(), index == 0, text.packet, &mut windows);
            let live = Live::of(text.ops, range.clone());
            let function = Function {
                ops: text.ops,
                charges: text.charges,
                origins: text.origins,
                range: range.clone(),
                functions: text.functions,
                flow: &flow,
                kinds: &kinds,
                live: &live,
            };
            let convention = self.isa.default_call_conv();
            self.start(index as u32 + 1, function_signature(convention));
            let builder = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
            let builder = Translator::new(builder, function, &mut windows, convention).run();
            builder.finalize(self.isa.frontend_config());
            let name = format!("function at {}", range.start);
            let entry = self.finish(&mut code, range.start, &name)?;
            code.entries.push(entry);
        }
        Ok(code)
    }

    fn start(&mut self, index: u32, signature: cranelift_codegen::ir::Signature) {
        self.context.clear();
        self.context.func = Ir::with_name_signature(UserFuncName::user(0, index), signature);
    }

    /// The stub calls the machine and keeps all registers, so that an access that lies within its window costs nothing for
    /// the call that it does not make.
    fn stub(&mut self) {
        let mut builder = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
        let resolver = builder.import_signature(signature(self.isa.default_call_conv(), 3, 0));
        let block = builder.create_block();
        builder.append_block_params_for_function_params(block);
        builder.switch_to_block(block);
        builder.seal_block(block);
        let parameters: [_; 3] = std::array::from_fn(|i| builder.block_params(block)[i]);
        let flags = MemFlagsData::new().with_notrap();
        let function = builder.ins().load(I64, flags, parameters[0], offset::RESOLVER);
        builder.ins().call_indirect(resolver, function, &parameters);
        builder.ins().return_(&[]);
        builder.finalize(self.isa.frontend_config());
    }

    /// Makes machine code of the function in `context`; gives its place.
    fn finish(&mut self, code: &mut Assembled, insn: usize, name: &str) -> Result<usize, CompileError> {
        let refused = |what: String| CompileError::Function { insn, what };
        self.context.set_disasm(code.text.is_some());
        let compiled = self
            .context
            .compile(&*self.isa, &mut ControlPlane::default())
            .map_err(|error| refused(error.inner.to_string()))?;
        if !compiled.buffer.relocs().is_empty() {
            return Err(refused("its code refers to something outside of it".to_owned()));
        }
        code.bytes.resize(code.bytes.len().next_multiple_of(16), 0);
        let entry = code.bytes.len();
        code.bytes.extend_from_slice(compiled.code_buffer());
        if let (Some(text), Some(disassembly)) = (&mut code.text, &compiled.vcode) {
            text.push_str(&format!("{name}:\n{disassembly}\n"));
        }
        Ok(entry)
    }
}
