//! The compiler's process as a node starts it: what it makes is loaded, and its bounds hold.

use std::fmt::Write;
use std::time::Duration;

use outcrop_node::udf::{CompileOptions, Compiler, FunctionOptions, Host, Refusal};
use outcrop_node::world::SeededEntropy;
use outcrop_wire::Code;

/// Has a component compiled by the real program.
async fn compile(text: &str, compile: CompileOptions) -> Refusal {
    let compiler =
        Compiler::Child { program: env!("CARGO_BIN_EXE_outcrop").into(), args: vec!["compile-module".into()] };
    let options = FunctionOptions { instances_max: 4, compile, ..FunctionOptions::default() };
    let host = Host::start(options, None, compiler, &SeededEntropy::new(1), Vec::new()).expect("the host starts");
    let component = wat::parse_str(text).expect("the text is well formed");
    host.prepare(component.into()).await.map(|_| ()).expect_err("these modules export nothing")
}

/// A component of many functions that take the compiler long.
fn heavy(functions: usize) -> String {
    let mut text = String::from("(component (core module\n");
    for number in 0..functions {
        writeln!(text, "(func (param i64 i64) (result i64) (local i64)").expect("a string takes it");
        for step in 0..60 {
            let odd = number * 64 + step;
            writeln!(
                text,
                "(local.set 2 (i64.xor (i64.mul (local.get 0) (i64.const {odd})) (i64.rotl (local.get 2) (local.get 1))))"
            )
            .expect("a string takes it");
        }
        text.push_str("(local.get 2))\n");
    }
    text + "))"
}

#[tokio::test]
async fn what_the_child_makes_is_loaded() {
    let refusal = compile("(component (core module (func)))", CompileOptions::default()).await;
    // It came through the compiler and the loader: what is missing is told by the linker.
    assert_eq!(refusal.code, Code::ModuleInvalid);
    assert!(refusal.message.contains("doesn't export"), "{refusal}");
}

#[tokio::test]
async fn what_the_child_refuses_comes_back_with_its_reason() {
    let refusal = compile(r#"(component (import "wasi:cli/exit@0.2.0" (instance)))"#, CompileOptions::default()).await;
    assert_eq!(refusal.code, Code::ModuleImportRefused);
    assert!(refusal.message.contains("`wasi:cli/exit@0.2.0`"), "{refusal}");
    let refusal = compile("(component (core module (memory i64 1)))", CompileOptions::default()).await;
    assert_eq!(refusal.code, Code::ModuleCompileFailed, "{refusal}");
    assert!(refusal.message.contains("memory64"), "{refusal}");
}

#[tokio::test]
async fn a_child_over_its_processor_time_is_ended() {
    let compile_options = CompileOptions { cpu: Duration::from_secs(1), ..CompileOptions::default() };
    let refusal = compile(&heavy(20_000), compile_options).await;
    assert_eq!(refusal.code, Code::ModuleCompileLimit, "{refusal}");
    assert!(refusal.message.contains("processor time"), "{refusal}");
}

#[tokio::test]
async fn a_child_over_its_memory_is_ended() {
    let compile_options = CompileOptions { memory_bytes_max: 192 << 20, ..CompileOptions::default() };
    let refusal = compile(&heavy(20_000), compile_options).await;
    assert_eq!(refusal.code, Code::ModuleCompileLimit, "{refusal}");
    assert!(refusal.message.contains("192 MiB of memory"), "{refusal}");
}

#[tokio::test]
async fn a_child_that_takes_too_long_is_killed() {
    let compile_options = CompileOptions { wall: Duration::ZERO, ..CompileOptions::default() };
    let refusal = compile("(component)", compile_options).await;
    assert_eq!(refusal.code, Code::ModuleCompileLimit);
    assert!(refusal.message.contains("longer than 0 s"), "{refusal}");
}

#[tokio::test]
async fn a_program_that_is_no_compiler_is_told_apart() {
    for (program, args, says) in [
        ("/bin/false", vec![], "exit status: 1"),
        ("/bin/echo", vec!["hello".into()], "it said nothing"),
        ("/nonexistent", vec![], "can't start"),
    ] {
        let compiler = Compiler::Child { program: program.into(), args };
        let options = FunctionOptions { instances_max: 4, ..FunctionOptions::default() };
        let host = Host::start(options, None, compiler, &SeededEntropy::new(1), Vec::new()).expect("the host starts");
        let component = wat::parse_str("(component)").expect("the text is well formed");
        let refusal = host.prepare(component.into()).await.map(|_| ()).expect_err(program);
        assert!(refusal.message.contains(says), "{refusal}");
    }
}
