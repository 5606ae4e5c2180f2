defmodule Mapp.MixProject do
  use Mix.Project

  # Of the environment, beside VSN: FROM, the root of the version to upgrade from; DOWN=no, there is no way back to it;
  # TAR, a tarball too; RELEASE, the release's name.
  def project do
    [
      app: :mapp,
      version: System.get_env("VSN", "1.0.0"),
      elixir: "~> 1.14",
      start_permanent: true,
      deps: for(path <- Path.wildcard("apps/*"), do: {String.to_atom(Path.basename(path)), path: path}),
      releases: [
        {String.to_atom(System.get_env("RELEASE", "mapp")),
         include_erts: true, include_executables_for: [:unix], strip_beams: true, steps: steps()}
      ]
    ]
  end

  def application do
    [mod: {Mapp.Application, []}, extra_applications: [:logger, :sasl]]
  end

  defp steps do
    relup = if System.get_env("FROM"), do: [&relup/1], else: []
    tar = if System.get_env("TAR"), do: [:tar], else: []
    [&appup/1, :assemble] ++ relup ++ tar
  end

  defp appup(release) do
    if File.exists?("mapp.appup"), do: File.cp!("mapp.appup", Application.app_dir(:mapp, "ebin/mapp.appup"))
    release
  end

  defp relup(release) do
    from = System.fetch_env!("FROM")
    froms = for file <- Path.wildcard("#{from}/releases/*/#{release.name}.rel"), do: rootname(file)
    downs = if System.get_env("DOWN") == "no", do: [], else: froms
    paths = for root <- [release.path, from], do: to_charlist("#{root}/lib/*/ebin")
    options = [:silent, path: paths, outdir: to_charlist(release.version_path)]
    {:ok, _, _, []} = :systools.make_relup(rootname("#{release.version_path}/#{release.name}.rel"), froms, downs, options)
    release
  end

  defp rootname(file), do: file |> Path.rootname() |> to_charlist()
end
