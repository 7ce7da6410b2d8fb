//! All tests again with lower instruction sets, the errors of asking for one that is not there, and
//! the exponential.
//!
//! The instruction set of a process is fixed at its first use, so these tests run this program again.

use slender_config::DeviceSpec;
use slender_kernels::{exp_slice, open_device};
use std::process::{Command, Output};

const SET: &str = "SLENDER_SIMD";
const CHILD: &str = "SLENDER_TEST_CHILD";

/// Whether this process was started by [`run_alone`].
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let program = std::env::current_exe().expect("the path of this program");
    Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("this program runs")
}

/// Prints what a process printed and asserts that it succeeded.
fn check(output: &Output, summary: &str) {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    println!("{out}");
    assert!(
        output.status.success() && out.contains(summary),
        "{out}{err}"
    );
}

/// Runs one test in a process of its own, where [`is_child`] holds.
pub fn run_alone(test: &str, environment: &[(&str, &str)]) {
    let mut all = vec![(CHILD, "1")];
    all.extend(environment);
    check(&run(&["--exact", test, "--nocapture"], &all), "1 passed");
}

/// Runs all tests but those of this kind and of memory, which has nothing to do with instructions.
fn run_all(set: &str, cases: &str) {
    let arguments = [
        "--skip",
        "all_tests_pass",
        "--skip",
        "memory::",
        "--nocapture",
    ];
    let environment = [(SET, set), ("SLENDER_TEST_CASES", cases)];
    check(&run(&arguments, &environment), "test result: ok");
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

#[test]
fn all_tests_pass_with_avx2() {
    if has_avx2() {
        run_all("avx2", "1");
    } else {
        println!("skipped: this processor has no AVX2 with FMA");
    }
}

#[test]
fn all_tests_pass_without_vector_extensions() {
    run_all("none", "0.5");
}

fn device() -> DeviceSpec {
    "flex".parse().expect("a device's name")
}

#[test]
fn an_unknown_instruction_set_is_an_error() {
    const NAME: &str = "instruction_sets::an_unknown_instruction_set_is_an_error";
    if !is_child() {
        for wrong in ["sse9", "", "AVX2", "avx512 "] {
            run_alone(NAME, &[(SET, wrong)]);
        }
        return;
    }
    let set = std::env::var(SET).expect("the parent says which");
    let message = open_device(&device()).expect_err("no such set").to_string();
    println!("{message}");
    for part in [SET, &format!("{set:?}"), "avx512", "avx2", "none", "hint:"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn instruction_sets_that_are_there_open_a_device() {
    const NAME: &str = "instruction_sets::instruction_sets_that_are_there_open_a_device";
    if is_child() {
        open_device(&device()).expect("the set is there");
        return;
    }
    run_alone(NAME, &[(SET, "none")]);
    if has_avx2() {
        run_alone(NAME, &[(SET, "avx2")]);
    } else {
        let output = run(&["--exact", NAME], &[(CHILD, "1"), (SET, "avx2")]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            !output.status.success() && text.contains("does not have"),
            "{text}"
        );
    }
}

/// Distance of `y` from `e^x` in units of the last place of the nearest f32.
fn ulps(x: f32, y: f32) -> f64 {
    let exact = f64::from(x).exp();
    let nearest = exact as f32;
    let ulp = f64::from(f32::from_bits(nearest.to_bits() + 1)) - f64::from(nearest);
    (f64::from(y) - exact).abs() / ulp
}

#[test]
fn exp_is_within_two_ulp() {
    // Every 97th of the 2.2 billion numbers between -87 and 88, in steps of one in the last place.
    const STEP: usize = 97;
    let mut worst = (0.0, 0.0);
    for (sign, end) in [(0, 88.0_f32), (1 << 31, 87.0)] {
        let bits: Vec<u32> = (0..=end.to_bits()).step_by(STEP).collect();
        for bits in bits.chunks(4096) {
            let x: Vec<f32> = bits
                .iter()
                .map(|bits| f32::from_bits(bits | sign))
                .collect();
            let mut y = x.clone();
            exp_slice(&mut y);
            for (&x, &y) in x.iter().zip(&y) {
                let error = ulps(x, y);
                if error > worst.0 || error.is_nan() {
                    worst = (error, x);
                }
            }
        }
    }
    println!("exp: {:.3} ulp at {}", worst.0, worst.1);
    assert!(worst.0 < 2.0, "{} ulp at {}", worst.0, worst.1);
}

#[test]
fn exp_does_not_depend_on_what_is_beside() {
    let values: Vec<f32> = (0..71).map(|i| (i as f32 - 40.0) * 1.37).collect();
    let alone: Vec<u32> = values
        .iter()
        .map(|&x| {
            let mut one = [x];
            exp_slice(&mut one);
            one[0].to_bits()
        })
        .collect();
    for from in 0..40 {
        let mut some = values[from..].to_vec();
        exp_slice(&mut some);
        let bits: Vec<u32> = some.iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, alone[from..]);
    }
}

#[test]
fn exp_outside_of_its_range_is_the_value_at_the_end() {
    let mut values = [
        f32::NEG_INFINITY,
        f32::MIN,
        -100.0,
        -87.0,
        88.0,
        89.0,
        f32::MAX,
        f32::INFINITY,
    ];
    exp_slice(&mut values);
    assert!(
        values[..4]
            .iter()
            .all(|&y| y == values[3] && ulps(-87.0, y) < 2.0)
    );
    assert!(
        values[4..]
            .iter()
            .all(|&y| y == values[4] && ulps(88.0, y) < 2.0)
    );
    let mut others = [0.0, -0.0, f32::MIN_POSITIVE, 1e-40, f32::NAN];
    exp_slice(&mut others);
    assert!(others[..4].iter().all(|&y| y == 1.0) && others[4].is_nan());
}
