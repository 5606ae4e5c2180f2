defmodule Relup do
  # Steps of a release that mix does not have.

  # Before it is assembled: beside the modules of each application its appup, which make_relup reads there.
  def appups(release) do
    for file <- Path.wildcard("*.appup") ++ Path.wildcard("apps/*/*.appup") do
      app = file |> Path.basename(".appup") |> String.to_atom()
      File.cp!(file, Application.app_dir(app, "ebin/#{app}.appup"))
    end

    release
  end

  # Of the environment: FROM, the root of the version to upgrade from; DOWN=no, there is no way back to it.
  def relup(release) do
    from = System.fetch_env!("FROM")
    froms = for file <- Path.wildcard("#{from}/releases/*/#{release.name}.rel"), do: rootname(file)
    downs = if System.get_env("DOWN") == "no", do: [], else: froms
    paths = for root <- [release.path, from], do: to_charlist("#{root}/lib/*/ebin")
    options = [:silent, path: paths, outdir: to_charlist(release.version_path)]
    {:ok, _, _, []} = :systools.make_relup(rootname("#{release.version_path}/#{release.name}.rel"), froms, downs, options)
    release
  end

  # Which steps, by the environment; TAR: a tarball too.
  def steps do
    relup = if System.get_env("FROM"), do: [&relup/1], else: []
    tar = if System.get_env("TAR"), do: [:tar], else: []
    [&appups/1, :assemble] ++ relup ++ tar
  end

  defp rootname(file), do: file |> Path.rootname() |> to_charlist()
end
