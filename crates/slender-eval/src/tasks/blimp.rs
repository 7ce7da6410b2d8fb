//! BLiMP: which of two sentences that differ in a word or two is grammatical; 67 phenomena.
//!
//! The one benchmark on which the smallest models differ: a sentence needs no knowledge, only grammar. There
//! is no context; each sentence, with a space before it, follows BOS. All share one declaration and differ in
//! name and file.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The sub-tasks, named as the hub's configurations.
const NAMES: [&str; 67] = [
    "adjunct_island",
    "anaphor_gender_agreement",
    "anaphor_number_agreement",
    "animate_subject_passive",
    "animate_subject_trans",
    "causative",
    "complex_NP_island",
    "coordinate_structure_constraint_complex_left_branch",
    "coordinate_structure_constraint_object_extraction",
    "determiner_noun_agreement_1",
    "determiner_noun_agreement_2",
    "determiner_noun_agreement_irregular_1",
    "determiner_noun_agreement_irregular_2",
    "determiner_noun_agreement_with_adj_2",
    "determiner_noun_agreement_with_adj_irregular_1",
    "determiner_noun_agreement_with_adj_irregular_2",
    "determiner_noun_agreement_with_adjective_1",
    "distractor_agreement_relational_noun",
    "distractor_agreement_relative_clause",
    "drop_argument",
    "ellipsis_n_bar_1",
    "ellipsis_n_bar_2",
    "existential_there_object_raising",
    "existential_there_quantifiers_1",
    "existential_there_quantifiers_2",
    "existential_there_subject_raising",
    "expletive_it_object_raising",
    "inchoative",
    "intransitive",
    "irregular_past_participle_adjectives",
    "irregular_past_participle_verbs",
    "irregular_plural_subject_verb_agreement_1",
    "irregular_plural_subject_verb_agreement_2",
    "left_branch_island_echo_question",
    "left_branch_island_simple_question",
    "matrix_question_npi_licensor_present",
    "npi_present_1",
    "npi_present_2",
    "only_npi_licensor_present",
    "only_npi_scope",
    "passive_1",
    "passive_2",
    "principle_A_c_command",
    "principle_A_case_1",
    "principle_A_case_2",
    "principle_A_domain_1",
    "principle_A_domain_2",
    "principle_A_domain_3",
    "principle_A_reconstruction",
    "regular_plural_subject_verb_agreement_1",
    "regular_plural_subject_verb_agreement_2",
    "sentential_negation_npi_licensor_present",
    "sentential_negation_npi_scope",
    "sentential_subject_island",
    "superlative_quantifiers_1",
    "superlative_quantifiers_2",
    "tough_vs_raising_1",
    "tough_vs_raising_2",
    "transitive",
    "wh_island",
    "wh_questions_object_gap",
    "wh_questions_subject_gap",
    "wh_questions_subject_gap_long_distance",
    "wh_vs_that_no_gap",
    "wh_vs_that_no_gap_long_distance",
    "wh_vs_that_with_gap",
    "wh_vs_that_with_gap_long_distance",
];

/// The sub-tasks.
pub(super) fn tasks() -> impl Iterator<Item = &'static Task> {
    NAMES.iter().map(|name| {
        // Once for each, from the one place that lists tasks; their names live as long as the program.
        let full: &'static str = Box::leak(format!("blimp_{name}").into_boxed_str());
        let file: &'static str = Box::leak(format!("{name}.jsonl").into_boxed_str());
        let task: &'static Task = Box::leak(Box::new(Task {
            name: full,
            title: full,
            folder: "blimp",
            split: "train",
            file: Some(file),
            output: Output::Choice,
            hub: HubSource {
                repo: "nyu-mll/blimp",
                config: Some(name),
            },
            examples: 1000,
            chance: 0.5,
            version: 1.0,
            metrics: &[Metric::Acc],
            source: "BLiMP, Warstadt et al. 2020 (arXiv:1912.00582), CC BY 4.0",
            fields: "sentence_good, sentence_bad",
            fixture: None,
            read: Read::One(read),
            paper: Paper::None,
            shots: Shots::Never,
            caveat: no_caveat,
        }));
        task
    })
}

fn read(row: &Row<'_>) -> Result<Example, EvalError> {
    let choices = vec![
        row.text("sentence_good")?.to_owned(),
        row.text("sentence_bad")?.to_owned(),
    ];
    Ok(Example::shared(row.id("pairID"), String::new(), choices, 0))
}
