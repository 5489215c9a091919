//! `xenbuild explain`.

use std::process::ExitCode;

use super::{Global, MessageFormat, progress};
use crate::error::Result;
use crate::recipe::{self, Origin};
use crate::run::explain::{Verdict, explain, explain_deep};
use crate::run::{plan_as_locked, survey};

/// Says why a step would run again: the input that changed, exactly
///
/// What is compared is the manifest that a step's key is the hash of, line by line, with that of the last build of this
/// recipe. For an input that another step makes, that step is explained, too.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: super::RecipeArgs,
    /// The step, as `xenbuild plan` calls it; without one, all steps that are not up to date
    #[arg(value_name = "STEP")]
    step: Option<String>,
    /// How to say it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// How an explanation is written.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// A JSON array, one object per step
    Json,
}

/// Runs the command.
pub fn run(global: &Global, args: Args) -> Result<ExitCode> {
    let set = args.recipe.variables()?;
    let recipe = recipe::load(&args.recipe.recipe, args.recipe.variant.as_deref(), &set)?;
    let (plan, _) = plan_as_locked(&recipe)?;
    let wanted = args.step.as_deref().map(|step| plan.find_or_suggest(step)).transpose()?;
    let blame = |origin: &Origin, message: String| recipe.error_at(origin, message);
    let cancel = progress::options(global)?.cancel;
    let (surveyed, history) = survey(&plan, &global.out, &blame, &cancel)?;
    let explanations = match wanted {
        Some(id) => explain_deep(&plan, &surveyed, &history, id),
        None => {
            let all = plan.steps().map(|(id, _)| explain(&plan, &surveyed, &history, id));
            all.filter(|step| !matches!(step.verdict, Verdict::UpToDate | Verdict::NotNeeded)).collect()
        }
    };
    if args.format == Format::Json || global.message_format == MessageFormat::Json {
        let text = serde_json::to_string_pretty(&explanations).expect("explanations are text");
        super::print(format_args!("{text}\n"))?;
    } else if explanations.is_empty() {
        super::print(format_args!("{}: all {} steps are up to date\n", plan.recipe, plan.len()))?;
    } else {
        for explanation in &explanations {
            super::print(format_args!("{explanation}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
