//! Language models: layers, architectures, generation state, and folders in Hugging Face layout.
//!
//! The room owns the language model ([`CausalLm`]), whose body is a decoder-only Transformer or a stack of recurrent
//! layers ([`Body`]), encoders with their heads ([`Encoder`]: BERT and its kind, for embeddings, classification and
//! masked language models), encoder-decoders ([`EncoderDecoder`]: the original Transformer, BART, T5, Whisper), language
//! models that see pictures ([`VisionLanguage`]: LLaVA), what a model remembers of a sequence while it generates
//! ([`State`]), how the next token is chosen ([`Chooser`]) and whole continuations are found ([`generate_from`],
//! [`beam_search`], [`contrastive_search`]) by whatever is a [`Stepper`], and how a model lies on disk ([`save`],
//! [`load`]). It may touch `ops` for arithmetic and `store` for writing files whole; it holds no training logic and knows
//! nothing of text.
//!
//! Three promises:
//! * One forward code. [`CausalLm::logits`], the training loss and the cached [`CausalLm::step`] run the same layers;
//!   only the attention core differs, and it is passed in.
//! * The form of a weight (dense, int8) is a property of [`Linear`]: no architecture has a second, quantised file.
//! * A model is a folder that `transformers` loads with the same logits, wherever `transformers` has such a model
//!   (see [`ModelConfig::saved_as`]).
//!
//! Begin reading at [`ModelConfig`], then [`CausalLm`], [`Body`] and [`layers`].

mod beam;
mod body;
mod causal_lm;
mod config;
mod constraint;
mod context;
mod contrastive;
mod describe;
mod dropout;
mod encoder;
mod encoder_decoder;
mod error;
pub mod experts;
mod families;
mod folder;
mod generate;
mod hf_config;
mod hf_families;
mod init;
mod labels;
pub mod layers;
mod log_mel;
mod next_item;
mod parameters;
mod positions;
mod recurrent;
mod recurrent_config;
mod rope_scaling;
mod rules;
mod sampler;
mod sequences;
mod state;
mod stepper;
mod truncated;
mod vision;
mod weights;

pub use beam::{BeamConfig, BeamSearch, EarlyStopping, Hypothesis, beam_search};
pub use body::Body;
pub use causal_lm::{CausalLm, LossOptions};
pub use config::{Activation, Architecture, ModelConfig, NormKind, ParameterCounts, Positions};
pub use constraint::{Choice, Chooser, LogitsConstraint};
pub use contrastive::{ContrastiveConfig, contrastive_search};
pub use danlu_ops::Precision;
pub use describe::{Described, MemoryNeeds, ModelKind, SequenceNeeds, describe, describe_language};
pub use dropout::DropoutKey;
pub use encoder::{
    Encoder, EncoderConfig, EncoderInput, EncoderKind, EncoderTargets, Head, HeadConfig, HeadLoss, Pooling, Problem,
    SentenceConfig, describe_encoder,
};
pub use encoder_decoder::{
    Convolution, EncoderDecoder, EncoderDecoderBody, EncoderDecoderConfig, EncoderDecoderKind, Seq2SeqInput,
    SpeechInput, Stack, StackLayer, describe_encoder_decoder,
};
pub use error::ModelError;
pub use families::{LayerType, SavedAs};
pub use folder::{CONFIG_FILE, GENERATION_CONFIG_FILE, SaveOptions, WEIGHTS_FILE, load, save};
pub use generate::{FinishReason, GenerateOptions, Generation, generate, generate_from};
pub use hf_config::SpecialTokens;
pub use layers::{Form, Linear};
pub use log_mel::{HOP, LogMel, SAMPLE_RATE};
pub use next_item::{NextItemConfig, ScoredItem};
pub use parameters::ParameterInfo;
pub use recurrent::{RecurrentLayer, RecurrentStack};
pub use recurrent_config::Nonlinearity;
pub use rope_scaling::{RopeScaling, Yarn};
pub use rules::LogitsRules;
pub use sampler::{Sampler, SamplingConfig, log_softmax, top_log_probabilities};
pub use sequences::{Recompute, SequenceOptions, Vectors};
pub use state::State;
pub use stepper::{Stepped, Stepper};
pub use vision::{
    FeatureSelection, ImageProcessor, ImageSize, Pixels, VisionConfig, VisionEncoder, VisionInput, VisionLanguage,
    VisionLanguageConfig, describe_vision_language,
};
