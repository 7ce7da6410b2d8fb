//! Student's t, and an estimate that knows how well it is known.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The `p` quantile of Student's t with `df` degrees of freedom; not a number for no freedom.
pub fn t_quantile(p: f64, df: f64) -> f64 {
    StudentsT::new(0.0, 1.0, df).map_or(f64::NAN, |t| t.inverse_cdf(p))
}

/// Two-sided p value of the statistic `t` with `df` degrees of freedom.
pub fn t_two_sided(t: f64, df: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    StudentsT::new(0.0, 1.0, df).map_or(f64::NAN, |law| (2.0 * law.cdf(-t.abs())).min(1.0))
}

/// A number with its standard error and the degrees of freedom that the error was estimated with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Its standard error.
    pub stderr: f64,
    /// Degrees of freedom of the standard error.
    pub df: f64,
}

impl Estimate {
    /// The interval that holds the true value with probability `level`, such as 0.95.
    pub fn interval(&self, level: f64) -> (f64, f64) {
        let reach = if self.stderr == 0.0 {
            0.0
        } else {
            self.stderr * t_quantile(0.5 + level / 2.0, self.df)
        };
        (self.value - reach, self.value + reach)
    }

    /// Two-sided p value of "the true value is 0"; `None` without a spread to judge it by.
    pub fn p_value(&self) -> Option<f64> {
        (self.stderr > 0.0).then(|| t_two_sided(self.value / self.stderr, self.df))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_ends_where_the_p_value_is_its_rest() {
        let estimate = Estimate {
            value: 1.0,
            stderr: 0.3,
            df: 4.0,
        };
        let (low, _) = estimate.interval(0.95);
        let at_the_end = Estimate {
            value: estimate.value - low,
            ..estimate
        };
        assert!((at_the_end.p_value().unwrap() - 0.05).abs() < 1e-9);
    }

    #[test]
    fn no_spread_is_no_interval() {
        let estimate = Estimate {
            value: 0.5,
            stderr: 0.0,
            df: 2.0,
        };
        assert_eq!(estimate.interval(0.95), (0.5, 0.5));
        assert_eq!(estimate.p_value(), None);
    }
}
